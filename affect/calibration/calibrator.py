"""The calibrator: what is done to frame-wise predictions before they are judged, and its file.

Smoothing over time first, then a bias on the expressions' log-probabilities, then thresholds of the action units. The
smoothing is given; bias and thresholds are fitted, so the figures they reach on their own data are in-sample, and
`cross_fit_predictions` gives cross-fitted ones.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from affect.calibration.cross_fitting import cross_fit, group_folds
from affect.calibration.expression_bias import apply_log_bias, fit_log_bias
from affect.calibration.missing_frames import fill_absent
from affect.calibration.smoothing import Smoothing, smooth
from affect.calibration.thresholds import GRID, NEUTRAL, tune_thresholds
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.storage.atomic_write import write_json
from affect.storage.json_file import json_content, read_json
from affect.tasks import TASKS

FORMAT: Final = "mt-emotieffnet-calibrator/1"

Predictions = Mapping[str, np.ndarray]
"""By task: `valence_arousal` (N, 2), `expression` probabilities (N, 8), `action_units` probabilities (N, 12)."""


@dataclass(frozen=True)
class Calibrator:
    """Everything needed to treat new predictions as the validation predictions were treated.

    Attributes:
        smoothing: By task; a task that is absent is not smoothed.
        log_bias: Added to the expressions' log-probabilities, in the order of AFFWILD2_EXPRESSIONS.
        thresholds: Probability from which each action unit counts as active (>=), in [0, 1].

    Raises:
        ValueError: If a task is unknown, a bias is NaN or infinite, or a threshold is outside [0, 1].
    """

    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    log_bias: tuple[float, ...] = (0.0,) * len(AFFWILD2_EXPRESSIONS)
    thresholds: tuple[float, ...] = (NEUTRAL,) * len(ACTION_UNITS)

    def __post_init__(self) -> None:
        if unknown := set(self.smoothing) - set(TASKS):
            raise ValueError(f"smoothing of unknown tasks {sorted(unknown)}; the tasks are {tuple(TASKS)}")
        if len(self.log_bias) != len(AFFWILD2_EXPRESSIONS) or not np.isfinite(self.log_bias).all():
            raise ValueError(f"log_bias must be {len(AFFWILD2_EXPRESSIONS)} finite numbers, got {self.log_bias}")
        if len(self.thresholds) != len(ACTION_UNITS) or not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError(f"thresholds must be {len(ACTION_UNITS)} numbers in [0, 1], got {self.thresholds}")

    def apply(self, preds: Predictions, video: np.ndarray, frame: np.ndarray) -> dict[str, np.ndarray]:
        """Smooth and bias predictions; thresholds are left to whoever decides.

        A row of NaN has no image: it takes no part in smoothing, and gets what the frame before it gets.

        Args:
            preds: By task, N rows each; a task may be absent.
            video: Video number of each row, shape (N,).
            frame: Frame number of each row, shape (N,).

        Returns:
            Treated predictions of the same tasks, shapes and meaning, without NaN.
        """
        treated = {}
        for task, values in preds.items():
            smoothed = smooth(values, video, frame, self.smoothing.get(task, Smoothing()))
            absent = np.isnan(values).any(1)
            smoothed[absent] = np.nan  # not what its neighbours would have it be
            treated[task] = fill_absent(smoothed, video, frame, TASKS[task].neutral) if absent.any() else smoothed
        if "expression" in treated and any(self.log_bias):
            treated["expression"] = apply_log_bias(treated["expression"], np.asarray(self.log_bias))
        return treated

    def decide(self, action_units: np.ndarray) -> np.ndarray:
        """Turn action unit probabilities, shape (N, 12), into 0 or 1, float32; NaN stays NaN."""
        active = (action_units.astype(np.float64) >= np.asarray(self.thresholds)).astype(np.float32)
        return np.where(np.isnan(action_units), np.float32(np.nan), active)

    def save(self, path: str | Path) -> None:
        """Write the calibrator as JSON, atomically."""
        write_json(
            path,
            {
                "format": FORMAT,
                "smoothing": {task: asdict(smoothing) for task, smoothing in self.smoothing.items()},
                "log_bias": dict(zip(AFFWILD2_EXPRESSIONS, self.log_bias, strict=True)),
                "thresholds": dict(zip(ACTION_UNITS, self.thresholds, strict=True)),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Calibrator":
        """Read a calibrator.

        Raises:
            MissingFileError: If there is no such file.
            InvalidFileError: If it is not a calibrator of this format, or a value is missing or out of range.
        """
        content = read_json(path, _CalibratorFile, "`make mtl` writes one", FORMAT)
        return cls(
            smoothing=content.smoothing,
            log_bias=tuple(content.log_bias[name] for name in AFFWILD2_EXPRESSIONS),
            thresholds=tuple(content.thresholds[name] for name in ACTION_UNITS),
        )


@json_content
@dataclass(frozen=True)
class _CalibratorFile:
    """The calibrator's file: as the calibrator, with a name for every number."""

    smoothing: dict[str, Smoothing]
    log_bias: dict[str, float]
    thresholds: dict[str, float]

    def __post_init__(self) -> None:
        for key, values, names in (
            ("log_bias", self.log_bias, AFFWILD2_EXPRESSIONS),
            ("thresholds", self.thresholds, ACTION_UNITS),
        ):
            if set(values) != set(names):
                raise ValueError(f"{key} must have a number for each of {', '.join(names)} and no other")
        Calibrator(self.smoothing, tuple(self.log_bias.values()), tuple(self.thresholds.values()))


def fit_calibrator(
    smoothed: Predictions,
    target: Predictions,
    smoothing: Mapping[str, Smoothing],
    grid: np.ndarray | None = GRID,
    with_bias: bool = True,
) -> Calibrator:
    """Fit bias and thresholds on predictions that are smoothed already.

    Args:
        smoothed: Predictions of the tasks `expression` and `action_units`, N rows.
        target: Their labels as in the batch contract, N rows; -1 and NaN are missing.
        smoothing: What was done to them, for the record.
        grid: Thresholds to choose from; None searches exactly.
        with_bias: Fit the expressions' bias too.
    """
    thresholds = tune_thresholds(smoothed["action_units"], target["action_units"], grid)
    calibrator = Calibrator(smoothing, thresholds=tuple(thresholds.tolist()))
    if not with_bias:
        return calibrator
    bias = fit_log_bias(smoothed["expression"], target["expression"])
    return replace(calibrator, log_bias=tuple(bias.tolist()))


def cross_fit_predictions(
    smoothed: Predictions,
    target: Predictions,
    video: np.ndarray,
    num_folds: int = 5,
    grid: np.ndarray | None = GRID,
    with_bias: bool = True,
) -> dict[str, np.ndarray]:
    """Treat each video's predictions with a bias and thresholds that were fitted on other videos.

    Args:
        smoothed: Predictions of all three tasks, N rows, smoothed already (which never looks at labels).
        target: Labels, as in `fit_calibrator`.
        video: Video number of each row, shape (N,).
        num_folds: Folds that the videos are shared out among.
        grid: As in `fit_calibrator`.
        with_bias: As in `fit_calibrator`.

    Returns:
        The same tasks; action units are decided, 0 or 1, so that any threshold in between scores them.
    """
    folds = group_folds(video, num_folds)

    def fit(rows: np.ndarray) -> Calibrator:
        chosen = {task: (smoothed[task][rows], target[task][rows]) for task in ("expression", "action_units")}
        return fit_calibrator(
            {task: pair[0] for task, pair in chosen.items()},
            {task: pair[1] for task, pair in chosen.items()},
            {}, grid, with_bias,
        )  # fmt: skip

    def apply(calibrator: Calibrator, rows: np.ndarray) -> np.ndarray:
        expression = apply_log_bias(smoothed["expression"][rows], np.asarray(calibrator.log_bias))
        return np.hstack([expression, calibrator.decide(smoothed["action_units"][rows])])

    treated = cross_fit(fit, apply, folds)
    num_expressions = len(AFFWILD2_EXPRESSIONS)
    return {
        **smoothed,
        "expression": treated[:, :num_expressions],
        "action_units": treated[:, num_expressions:],
    }
