"""Predictions and labels of a set as one table, for notebooks and error analysis."""

from pathlib import Path

import pandas as pd

from affect.calibration.calibrator import Predictions
from affect.frames import locate_frames, video_of
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, VALENCE_AROUSAL
from affect.storage.atomic_write import write_bytes


def write_predictions(
    path: Path, name: list[str], target: Predictions, preds: Predictions, smoothed: Predictions
) -> None:
    """Write one row per image, atomically, as parquet.

    The columns are `name`, `video`, `frame`; labels `label/Valence`, `label/Arousal`, `label/expression` (code, -1
    missing), `label/AU1` and so on (NaN missing); and for `raw/` and `smoothed/` the two values, a probability per
    expression and one per action unit.

    Args:
        path: The file.
        name: Image ids, N strings.
        target: Labels by task.
        preds: Predictions by task.
        smoothed: The same after smoothing.
    """
    columns = {
        "name": name,
        "video": [video_of(image) for image in name],
        "frame": locate_frames(name)[1],
        "label/expression": target["expression"],
    }
    columns |= _columns("label", "valence_arousal", target) | _columns("label", "action_units", target)
    for stage, values in (("raw", preds), ("smoothed", smoothed)):
        for task in values:
            columns |= _columns(stage, task, values)
    write_bytes(path, pd.DataFrame(columns).to_parquet(index=False))


def _columns(stage: str, task: str, values: Predictions) -> dict:
    names = {
        "valence_arousal": VALENCE_AROUSAL,
        "expression": AFFWILD2_EXPRESSIONS,
        "action_units": ACTION_UNITS,
    }
    return {f"{stage}/{name}": values[task][:, column] for column, name in enumerate(names[task])}
