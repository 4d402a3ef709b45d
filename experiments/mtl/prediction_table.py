"""Predictions and labels of a set as one table, for notebooks and error analysis."""

from pathlib import Path

import numpy as np
import pandas as pd

from affect.calibration.calibrator import Predictions
from affect.frame_names import locate_frames, video_of
from affect.storage.atomic_write import write_bytes
from affect.tasks import TASKS


def write_predictions(
    path: Path, name: list[str], target: Predictions, preds: Predictions, smoothed: Predictions
) -> None:
    """Write one row per image, atomically, as parquet.

    The columns are `name`, `video`, `frame`; labels `label/Valence`, `label/Arousal`, `label/expression` (code, -1
    missing), `label/AU1` and so on (NaN missing); and for `raw/` and `smoothed/` the two values, a probability per
    expression and one per action unit.
    """
    columns = {
        "name": name,
        "video": [video_of(image) for image in name],
        "frame": locate_frames(name)[1],
    }
    columns |= {f"label/{task}": values for task, values in target.items() if values.ndim == 1}
    columns |= _columns("label", {task: target[task] for task in TASKS if target[task].ndim == 2})
    columns |= _columns("raw", preds) | _columns("smoothed", smoothed)
    write_bytes(path, pd.DataFrame(columns).to_parquet(index=False))


def _columns(stage: str, values: Predictions) -> dict[str, np.ndarray]:
    return {
        f"{stage}/{name}": columns[:, place]
        for task, columns in values.items()
        for place, name in enumerate(TASKS[task].outputs)
    }
