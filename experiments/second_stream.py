"""The second stream: its own features, heads and predictions, blended with the first stream's."""

import numpy as np

from affect.calibration import Predictions
from affect.head_file import HeadsSpec
from affect.heads import JointHeads, SeparateHeads
from affect.stream_blending import blend_streams
from datamodules.features import FeatureTable, feature_table
from datamodules.frame_tables import read_frame_tables
from experiments.config import ConfigError
from experiments.head_training import TrainedHeads, predict_rows, train_heads
from experiments.mtl_config import HeadsConfig, StreamConfig
from experiments.runner import Run


def stream_table(run: Run, config: StreamConfig, rows: FeatureTable, split: str) -> FeatureTable:
    """Read the second stream's features of the rows of a first-stream table, with the same labels."""
    assert config.root is not None
    tables = read_frame_tables(config.root, rows.name, config.columns, config.min_confidence)
    run.say(
        f"{split}: second stream of {len(tables.columns)} columns; {tables.failing} of {len(rows)} rows fall back to "
        f"the first, {len(tables.absent_videos)} videos have no table"
    )
    return feature_table(
        tables.features, {task: target.numpy() for task, target in rows.labels.items()}, rows.name
    )


def train_stream(run: Run, config: HeadsConfig, train: FeatureTable, val: FeatureTable) -> TrainedHeads:
    """Train the second stream's heads, one per task, on its features alone."""
    width = train.feature.shape[1]
    spec = HeadsSpec("separate", "features", width, 0, config.num_hidden, "stream")
    return train_heads(run, config, spec, train, val)


def blend(
    config: StreamConfig, preds: Predictions, heads: SeparateHeads | JointHeads, table: FeatureTable
) -> dict[str, np.ndarray]:
    """Blend the first stream's predictions with those of the second stream's heads.

    Raises:
        ConfigError: If a weight is of no task or out of range.
    """
    try:
        return blend_streams(preds, predict_rows(heads, table), table.present.numpy(), config.weight)
    except ValueError as error:
        raise ConfigError(f"stream.weight: {error}") from error
