"""Callback that logs a classifier's confusion matrix and captioned images to W&B."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import wandb
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from callbacks.validation_outputs import ValidationOutputs


class WandbPanels(Callback):
    """Log a confusion matrix and, if allowed, a grid of images after each validation pass of a fit.

    Does nothing without a W&B logger. The matrix covers the outputs that ValidationOutputs, which must come before this
    callback, collected from all processes; the images are those of rank 0.

    Args:
        classes: Names in label order.
        mean: Channel means that the images were normalised with.
        std: Channel standard deviations.
        log_images: Whether images may leave the machine.
        num_images: Number of images, from the first batch.
    """

    def __init__(
        self,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        log_images: bool,
        num_images: int = 24,
    ) -> None:
        self.classes = tuple(classes)
        self.mean = np.array(mean, np.float32)
        self.std = np.array(std, np.float32)
        self.log_images = log_images
        self.num_images = num_images
        self._images: list[tuple[str, NDArray[np.uint8]]] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the first batch's images."""
        if batch_idx == 0 and self.log_images and isinstance(trainer.logger, WandbLogger):
            pixels = batch["image"][: self.num_images].permute(0, 2, 3, 1).float().cpu().numpy()
            pixels = ((pixels * self.std + self.mean) * 255).round().clip(0, 255).astype(np.uint8)
            self._images = list(zip(batch["name"], pixels, strict=False))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the panels."""
        if not isinstance(trainer.logger, WandbLogger):
            return
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        collected = next(part for part in callbacks if isinstance(part, ValidationOutputs))
        preds = collected.outputs[:, : len(self.classes)].argmax(1)
        target = collected.labels["expression"]
        labelled = target >= 0
        matrix = wandb.plot.confusion_matrix(
            y_true=target[labelled].tolist(), preds=preds[labelled].tolist(), class_names=list(self.classes)
        )
        panels: dict[str, Any] = {"val/confusion_matrix": matrix}
        if self._images:
            captions = {
                name: f"{name}: {self._name(true)}, predicted {self._name(found)}"
                for name, true, found in zip(collected.names, target, preds, strict=True)
            }
            panels["val/predictions"] = [wandb.Image(image, caption=captions[name]) for name, image in self._images]
        self._images = []
        trainer.logger.log_metrics(panels, trainer.global_step)  # with the logger's prefix

    def _name(self, index: int) -> str:
        return self.classes[index] if index >= 0 else "unlabelled"
