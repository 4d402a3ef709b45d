"""The steps from frame-wise predictions to calibrated ones, and the score of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from rich.table import Table

from affect.calibration.calibrator import Calibrator, Predictions, cross_fit_predictions, fit_calibrator
from affect.mtl_score import multi_task_score
from affect.tasks import TASKS
from experiments.mtl.config import CalibrationConfig
from experiments.runtime.reports.tables import metrics_table

STEPS = {
    "": "raw",
    "@thresholds": "thresh",
    "@thresholds_crossfit": "thr. †",
    "@smoothed": "smooth",
    "@calibrated": "calibr",
    "@calibrated_crossfit": "cal. †",
}
"""Suffix of the metrics' names and heading of each step. Thresholds and calibration are tuned on the validation set, so
theirs are in-sample figures; the cross-fitted ones beside them (†) tune on other videos than they judge. The heads'
best epochs are chosen on the validation set in every step, the cross-fitted ones included."""

CAPTION: Final = (
    "thresh, calibr: tuned on these videos\n† tuned on other videos than those judged\n"
    "the heads' epochs: chosen on these videos throughout"
)

ROWS = {
    **{name: heading for task in TASKS.values() for name, heading in task.measures.items()},
    **{task.score: task.score_heading for task in TASKS.values()},
    "mtl_score": "P_MTL",
}


@dataclass(frozen=True)
class Scores:
    """Scores of the steps.

    Attributes:
        metrics: `val/<name><suffix>` for every name of MultiTaskScore and suffix of STEPS.
        calibrator: Fitted on all these predictions.
        kept: The calibrator for new predictions.
        raw: Predictions as the network gave them; a row without image has those of the frame before.
        smoothed: Predictions after smoothing alone.
    """

    metrics: dict[str, float]
    calibrator: Calibrator
    kept: Calibrator
    raw: dict[str, np.ndarray]
    smoothed: dict[str, np.ndarray]


def score_steps(
    preds: Predictions, target: Predictions, video: np.ndarray, frame: np.ndarray, config: CalibrationConfig
) -> Scores:
    """Score predictions as they are, and after each step.

    Args:
        preds: Probabilities of the three tasks, N rows; those of rows without image are NaN.
        target: Labels as in the batch contract, N rows.
        video: Video number of each row, shape (N,).
        frame: Frame number of each row, shape (N,).
        config: The steps.
    """
    smoothing, grid = config.smoothing(), config.grid()
    raw = Calibrator().apply(preds, video, frame)
    only_thresholds = fit_calibrator(raw, target, {}, grid, with_bias=False)
    smoothed = Calibrator(smoothing).apply(preds, video, frame)
    calibrator = fit_calibrator(smoothed, target, smoothing, grid, config.log_bias)
    steps = {
        "": score(raw, target),
        "@thresholds": score(raw, target, only_thresholds.thresholds),
        "@smoothed": score(smoothed, target),
        "@calibrated": score(calibrator.apply(preds, video, frame), target, calibrator.thresholds),
    }
    num_folds = min(config.num_folds, len(np.unique(video)))
    if num_folds > 1:
        held_out = cross_fit_predictions(raw, target, video, num_folds, grid, with_bias=False)
        steps["@thresholds_crossfit"] = score(held_out, target)
        held_out = cross_fit_predictions(smoothed, target, video, num_folds, grid, config.log_bias)
        steps["@calibrated_crossfit"] = score(held_out, target)
    metrics = {f"val/{name}{step}": value for step in STEPS for name, value in steps.get(step, {}).items()}
    kept = calibrator if config.keep == "all" else confirmed(calibrator, metrics)
    return Scores(metrics, calibrator, kept, raw, smoothed)


def confirmed(calibrator: Calibrator, metrics: Mapping[str, float]) -> Calibrator:
    """Drop the bias, and the thresholds, unless they gain on videos that they were not tuned on."""
    plain = Calibrator()
    gains = {
        name: metrics.get(f"val/{name}@calibrated_crossfit", -1.0) > metrics.get(f"val/{name}@smoothed", -1.0)
        for name in ("expression_f1", "au_f1")
    }
    return replace(
        calibrator,
        log_bias=calibrator.log_bias if gains["expression_f1"] else plain.log_bias,
        thresholds=calibrator.thresholds if gains["au_f1"] else plain.thresholds,
    )


def score(preds: Predictions, target: Predictions, thresholds: tuple[float, ...] | None = None) -> dict[str, float]:
    """Compute P_MTL and its parts from arrays."""
    return multi_task_score(
        {task: torch.from_numpy(values) for task, values in preds.items()},
        {task: torch.from_numpy(target[task]) for task in preds},
        thresholds,
    )


def challenge_table(metrics: Mapping[str, float], published: Mapping[str, float]) -> Table:
    """Build a table of the challenge's measures with a column per step."""
    steps = {step: heading for step, heading in STEPS.items() if not step or f"val/mtl_score{step}" in metrics}
    return metrics_table(
        "s-Aff-Wild2 validation", metrics, published, {f"val/{name}": label for name, label in ROWS.items()}, steps,
        caption=("publ: published, of this set\n" if published else "") + CAPTION, bold="val/mtl_score",
    )  # fmt: skip
