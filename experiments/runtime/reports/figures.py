"""Pictures of results, drawn with matplotlib into the run folder and sent to W&B."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from affect.labels import VALENCE_AROUSAL
from affect.storage.atomic_write import write_bytes

_NAMED_CLASSES: Final = 40
"""Largest number of classes whose names and counts are legible in a confusion matrix."""


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150, bbox_inches="tight")
    write_bytes(path, content.getvalue())
    return path


def confusion_matrix(target: NDArray[np.int64], preds: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Draw counts, shaded by the share of each true class; rows whose `target` is -1 (missing) are left out.

    Of over 40 classes only the shades are drawn.
    """
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (target[target >= 0], preds[target >= 0]), 1)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    size = min(len(classes), _NAMED_CLASSES)
    figure = Figure(figsize=(1.5 + 0.62 * size, 1.2 + 0.58 * size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(classes) <= _NAMED_CLASSES:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def valence_arousal_scatter(target: NDArray, preds: NDArray, ccc: Mapping[str, float]) -> Figure:
    """Draw predicted against annotated values, a panel each for valence and arousal.

    Args:
        target: Annotated values, shape (N, 2); rows with NaN are left out.
        preds: Predicted values, shape (N, 2).
        ccc: CCC by panel name, `valence` and `arousal` or one of them, for the titles.
    """
    figure = Figure(figsize=(9, 4.3), layout="constrained")
    columns = {name.lower(): column for column, name in enumerate(VALENCE_AROUSAL)}
    for position, (name, value) in enumerate(ccc.items()):
        column = columns[name]
        valid = ~np.isnan(target[:, column])
        axes = figure.add_subplot(1, len(ccc), position + 1)
        axes.plot([-1, 1], [-1, 1], color="0.7", linewidth=1)
        axes.scatter(target[valid, column], preds[valid, column], s=8, alpha=min(1.0, 2000 / max(valid.sum(), 1) + 0.1))
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xlabel="annotated", ylabel="predicted")
        axes.set_title(f"{name}   CCC {value:.3f}   n = {valid.sum()}")
    return figure


def training_curves(history: pd.DataFrame, panels: Mapping[str, Sequence[str]]) -> Figure:
    """Draw metrics over the epochs of `history`, a panel for each group of those that it holds."""
    panels = {title: [name for name in names if name in history] for title, names in panels.items()}
    panels = {title: names for title, names in panels.items() if names}
    figure = Figure(figsize=(4.6 * len(panels), 3.6), layout="constrained")
    for position, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), position + 1)
        for name in names:
            axes.plot(history["epoch"] + 1, history[name], marker="o", markersize=3, label=name)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def image_grid(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], title: str, columns: int = 8) -> Figure:
    """Draw RGB images, shape (H, W, 3), with a caption each."""
    width, height, side = 1.7, 2.1, 1.55  # of a cell and of the longer side of its image, in inches
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(width * columns, 0.5 + height * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.add_subplot()  # one for all: the layout of one for each takes seconds
    axes.axis("off")
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, columns)
        centre, top = width * (column + 0.5), height * (row + 1) - side
        down, across = side / max(image.shape[:2]) * np.array(image.shape[:2])
        axes.imshow(image, extent=(centre - across / 2, centre + across / 2, top + down, top))
        axes.text(centre, top - 0.06, caption, ha="center", va="bottom", fontsize=7, parse_math=False)
    axes.set(xlim=(0, width * columns), ylim=(height * rows, 0), aspect="equal")
    return figure
