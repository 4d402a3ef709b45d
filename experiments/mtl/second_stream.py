"""The second stream: its own features, heads and predictions, blended with the first stream's."""

import logging
from pathlib import Path

import numpy as np

from affect.calibration.calibrator import Predictions
from affect.calibration.second_stream_blend import blend_streams
from affect.networks.head_file import HeadsSpec
from affect.networks.heads import HeadNetwork
from datamodules.frozen_features.table import FeatureTable, feature_table
from datamodules.readers.openface import read_frame_tables
from experiments.mtl.config import HeadsConfig, StreamConfig
from experiments.mtl.train_heads import TrainedHeads, predict_rows, train_heads
from experiments.runtime.config.options import ConfigError
from experiments.runtime.fit import FitSettings

_log = logging.getLogger(__name__)


class SecondStream:
    """Another tool's features of the frames, from the first table on always of the same columns.

    Args:
        config: Where the tables are and how they are blended.
        source: Columns that the heads were trained on, as their file records them; None takes what the first table has.

    Raises:
        ConfigError: If there is no such folder.
    """

    def __init__(self, config: StreamConfig, source: str | None = None) -> None:
        if not Path(config.root or "").is_dir():
            raise ConfigError(f"stream.root={config.root}: no folder with the second stream's tables")
        self.config = config
        self.source = source

    def table(self, rows: FeatureTable, split: str) -> FeatureTable:
        """Read the features of the rows of a first-stream table, with the same labels.

        Raises:
            ConfigError: If the columns are not those of the tables before, or of the heads.
            AnnotationError: If the folder or a table is not as it should be.
        """
        assert self.config.root is not None
        tables = read_frame_tables(self.config.root, rows.name, self.config.columns, self.config.min_confidence)
        source = "columns " + ",".join(tables.columns)
        if self.source not in (None, source):
            raise ConfigError(
                f"stream.root={self.config.root}: the {split} tables have the {source}, "
                f"but the heads take the {self.source}"
            )
        self.source = source
        _log.info(
            "%s: second stream of %d columns; %d of %d rows fall back to the first, %d videos have no table",
            split, len(tables.columns), tables.failing, len(rows), len(tables.absent_videos),
        )  # fmt: skip
        labels = {task: target.numpy() for task, target in rows.labels.items()}
        return feature_table(tables.features, labels, rows.name)

    def train(
        self, settings: FitSettings, config: HeadsConfig, train: FeatureTable, val: FeatureTable | None
    ) -> TrainedHeads:
        """Train the stream's heads, one per task, on its features alone."""
        width = train.feature.shape[1]
        spec = HeadsSpec("separate", "features", width, 0, config.num_hidden, str(self.source))
        return train_heads(settings.unrecorded(), config, spec, train, val)

    def blend(self, preds: Predictions, heads: HeadNetwork, table: FeatureTable) -> dict[str, np.ndarray]:
        """Blend the first stream's predictions with those of the second stream's heads."""
        return blend_streams(preds, predict_rows(heads, table), self.config.weights())
