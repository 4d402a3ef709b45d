"""Blend the predictions of two feature streams, task by task (Savchenko 2022, arXiv 2207.09508, section 4.2)."""

from collections.abc import Mapping

import numpy as np

from affect.calibration.calibrator import Predictions


def blend_streams(first: Predictions, second: Predictions, weight: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Mix probabilities: weight x first + (1 - weight) x second, where the second stream has the frame.

    Args:
        first: Predictions by task, N rows.
        second: Predictions of the same rows by task, NaN where the stream lacks the frame.
        weight: Of the first stream by task, in [0, 1]; a task that is absent keeps the first stream's predictions.

    Returns:
        Predictions of all tasks of the first stream; what is NaN in it stays NaN.

    Raises:
        ValueError: If a weight is out of range, or of a task that the streams lack.
    """
    for task, value in weight.items():
        if task not in first or task not in second or not 0 <= value <= 1:
            raise ValueError(f"cannot blend {task!r} with weight {value}: tasks {sorted(first)}, weights from 0 to 1")
    blended = dict(first)
    for task, value in weight.items():
        mixed = value * first[task] + (1 - value) * second[task]
        blended[task] = np.where(np.isnan(second[task]), first[task], mixed).astype(first[task].dtype)
    return blended
