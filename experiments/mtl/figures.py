"""Pictures of stage 2: threshold curves, confusion matrix, valence/arousal, time lines of videos."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affect.calibration.calibrator import Calibrator, Predictions
from affect.calibration.thresholds import f1_curves
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, MISSING_EXPRESSION, VALENCE_AROUSAL
from affect.tasks import TASKS
from experiments.mtl.scores import Scores
from experiments.runtime.reports.figures import confusion_matrix, training_curves, valence_arousal_scatter

_GRID = np.linspace(0.01, 0.99, 99)


def draw_figures(
    history: pd.DataFrame, scores: Scores, target: Predictions, videos: np.ndarray, frame: np.ndarray
) -> dict[str, Figure]:
    """Draw all figures of a run from N validation rows; those of tasks without labels are left out.

    `history` has the heads' metrics by epoch, `videos` the name of each row's video, `frame` its frame number.
    """
    metrics, preds = scores.metrics, scores.raw
    figures = {}
    if "val/au_f1" in metrics:
        figures["thresholds"] = threshold_curves(
            scores.smoothed["action_units"], target["action_units"], scores.calibrator
        )
    if "val/expression_f1" in metrics:
        figures["confusion_matrix"] = confusion_matrix(
            target["expression"], preds["expression"].argmax(1), AFFWILD2_EXPRESSIONS,
            f"macro F1 {metrics['val/expression_f1']:.3f}",
        )  # fmt: skip
    if "val/va_ccc" in metrics:
        ccc = {name.lower(): metrics[f"val/{name.lower()}_ccc"] for name in VALENCE_AROUSAL}
        figures["valence_arousal"] = valence_arousal_scatter(target["valence_arousal"], preds["valence_arousal"], ccc)
    figures["timeline"] = time_lines(preds, scores.smoothed, target, videos, frame)
    if len(history):
        figures["training_curves"] = training_curves(history, {
            "training loss": [f"train/{task}_loss" for task in TASKS],
            "validation": [f"val/{task.score}" for task in TASKS.values()],
            "P_MTL": ["val/mtl_score"],
        })  # fmt: skip
    return figures


def threshold_curves(probabilities: np.ndarray, target: np.ndarray, calibrator: Calibrator) -> Figure:
    """Draw F1 over the threshold for each action unit, with 0.5 and the calibrator's threshold marked.

    `probabilities` are smoothed, as the calibrator had them; labels are in {0, 1}, NaN where missing; both (N, 12).
    """
    curves = f1_curves(probabilities, target, _GRID)
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle("F1 of smoothed predictions over the threshold (dashed: 0.5, line: the calibrator's)")
    panels = figure.subplots(3, 4, sharex=True, sharey=True).ravel()
    for unit, (name, axes) in enumerate(zip(ACTION_UNITS, panels, strict=True)):
        axes.plot(_GRID, curves[:, unit])
        axes.axvline(0.5, color="0.6", linestyle="--", linewidth=1)
        axes.axvline(calibrator.thresholds[unit], color="tab:red", linewidth=1)
        share = np.nanmean(target[:, unit]) if not np.isnan(target[:, unit]).all() else 0.0
        axes.set_title(f"{name}   {share:.1%} active", fontsize=9)
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure


def time_lines(
    preds: Predictions, smoothed: Predictions, target: Predictions, videos: np.ndarray, frame: np.ndarray,
    num_videos: int = 2,
) -> Figure:  # fmt: skip
    """Draw label against prediction, raw and smoothed, over the frames of the `num_videos` videos with most labels."""
    labelled = (target["expression"] != MISSING_EXPRESSION).astype(int) + ~np.isnan(target["valence_arousal"][:, 0])
    names, number = np.unique(videos, return_inverse=True)
    chosen = np.argsort(-np.bincount(number, weights=labelled), kind="stable")[:num_videos]
    figure = Figure(figsize=(7.5 * len(chosen), 9), layout="constrained")
    panels = figure.subplots(4, len(chosen), sharex="col", squeeze=False)
    for column, video in enumerate(chosen):
        rows = np.flatnonzero(number == video)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        cut = {task: values[rows] for task, values in target.items()}
        lines = [{task: values[rows] for task, values in part.items()} for part in (preds, smoothed)]
        axes = panels[:, column]
        _values(axes[:2], frame[rows], cut["valence_arousal"], *lines)
        _expressions(axes[2], frame[rows], cut["expression"], *lines)
        _units(axes[3], frame[rows], cut["action_units"], lines[1])
        axes[0].set_title(str(names[video]), loc="left")
        axes[3].set_xlabel("frame")
    return figure


def _values(axes: np.ndarray, frame: np.ndarray, target: np.ndarray, raw: Predictions, smoothed: Predictions) -> None:
    for column, name in enumerate(VALENCE_AROUSAL):
        _line(axes[column], frame, target[:, column], color="black", linewidth=1.5, label="label")
        _line(axes[column], frame, raw["valence_arousal"][:, column], color="tab:blue", alpha=0.35, label="raw")
        _line(axes[column], frame, smoothed["valence_arousal"][:, column], color="tab:blue", label="smoothed")
        axes[column].set(ylim=(-1.05, 1.05), ylabel=name)
    _legend(axes[0])


def _line(axes: Axes, frame: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Draw a line that does not bridge gaps between frames."""
    step = np.diff(frame)
    gaps = np.flatnonzero(step > 5 * max(np.median(step), 1)) + 1 if len(step) else np.empty(0, int)
    axes.plot(np.insert(frame.astype(float), gaps, np.nan), np.insert(values.astype(float), gaps, np.nan), **style)


def _expressions(axes: Axes, frame: np.ndarray, target: np.ndarray, raw: Predictions, smoothed: Predictions) -> None:
    labelled = target != MISSING_EXPRESSION
    axes.plot(frame[labelled], target[labelled], "s", color="black", markersize=6, fillstyle="none", label="label")
    axes.plot(frame, raw["expression"].argmax(1), ".", color="tab:orange", alpha=0.5, label="raw")
    axes.plot(frame, smoothed["expression"].argmax(1), "_", color="tab:red", markersize=8, label="smoothed")
    axes.set_yticks(range(len(AFFWILD2_EXPRESSIONS)), AFFWILD2_EXPRESSIONS, fontsize=8)
    _legend(axes)


def _units(axes: Axes, frame: np.ndarray, target: np.ndarray, smoothed: Predictions) -> None:
    axes.scatter(
        np.repeat(frame, len(ACTION_UNITS)), np.tile(np.arange(len(ACTION_UNITS)), len(frame)),
        c=smoothed["action_units"].ravel(), vmin=0, vmax=1, cmap="Greens", marker="s", s=30,
    )  # fmt: skip
    time, unit = np.nonzero(target == 1)
    axes.plot(frame[time], unit, ".", color="black", markersize=2)
    axes.set_yticks(range(len(ACTION_UNITS)), ACTION_UNITS, fontsize=7)
    axes.set_ylabel("probability; dots: label")


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
