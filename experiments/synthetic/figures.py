"""Pictures of stage 3: blend curve, confusion matrices, faces before and after upscaling."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from callbacks.validation_outputs import ValidationOutputs
from datamodules.images.dataset import UnreadableImageError, read_image
from datamodules.synthetic_faces import TRAIN_FOLDER, SyntheticFacesDataModule
from experiments.runtime.fit import FitResult
from experiments.runtime.reports.figures import confusion_matrix, training_curves
from experiments.synthetic.blend_report import BlendReport


def draw_figures(
    data: SyntheticFacesDataModule,
    pretrained: ValidationOutputs,
    fit: FitResult,
    blend: BlendReport,
) -> dict[str, Figure]:
    """Draw all figures of a run; `before_after` only if the training faces were enlarged."""
    predictions = {
        "pretrained": pretrained.outputs.argmax(1),
        "finetuned": fit.outputs.outputs.argmax(1),
        "blend": blend.preds,
    }
    figures = {}
    for name, preds in predictions.items():
        title = f"{name}, accuracy {(preds == blend.target).mean():.3f}"
        figures[f"confusion_{name}"] = confusion_matrix(blend.target, preds, data.expressions, title)
    figures["blend_curve"] = blend_curve(blend)
    panels = {"loss": ["train/loss"], "expression": ["val/expression_accuracy", "val/expression_f1"]}
    figures["training_curves"] = training_curves(fit.history, panels)
    if data.copies["train"].folder != data.root / TRAIN_FOLDER:
        figures["before_after"] = before_after(data)
    return figures


def blend_curve(blend: BlendReport) -> Figure:
    """Draw macro F1 over the weight of the pre-trained network, on logits and on probabilities."""
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for space, curve in blend.curves.items():
        axes.plot(curve.weights, curve.f1, marker="o", markersize=4, label=space)
    axes.axvline(blend.weight, color="0.6", linestyle=":", label=f"best, {blend.weight:.1f} on {blend.space}")
    axes.set(
        xlabel="weight of the pre-trained network",
        ylabel="macro F1",
        title="Blend, validation (the best weight is in-sample)",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def before_after(data: SyntheticFacesDataModule, per_class: int = 2) -> Figure:
    """Draw training faces of each class before and after preparation."""
    pairs = [pair for label in range(len(data.expressions)) for pair in islice(readable_pairs(data, label), per_class)]
    figure = Figure(figsize=(1.5 * max(len(pairs), 1), 3.6), layout="constrained")
    figure.suptitle("training faces, before and after")
    for column, (path, *images) in enumerate(pairs):
        for row, image in enumerate(images):
            axes = figure.add_subplot(2, len(pairs), row * len(pairs) + column + 1)
            axes.imshow(image, interpolation="nearest")
            heading = f"{path.split('/')[0]}\n" if row == 0 else ""
            axes.set_title(f"{heading}{image.shape[1]} px", fontsize=7)
            axes.axis("off")
    return figure


def readable_pairs(
    data: SyntheticFacesDataModule, label: int
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield path, original and prepared image of a class's training faces; unreadable ones are left out.

    They may have been left out of training too, which is no reason to lose a finished run's figures.
    """
    train = data.datasets["train"]
    for path in train.paths[train.labels["expression"] == label].tolist():
        try:
            yield path, read_image(data.root / TRAIN_FOLDER / path), read_image(train.root / path)
        except UnreadableImageError:
            continue
