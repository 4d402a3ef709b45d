"""The dashboard's panels of a classifier: confusion matrix, and images with what the network said of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import wandb
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger


class WandbPanels(Callback):
    """Log a confusion matrix and, if allowed, a grid of images after each validation pass of a fit.

    Does nothing without a W&B logger.

    Args:
        classes: Names in label order.
        mean: Channel means that the images were normalised with.
        std: Channel standard deviations.
        log_images: Whether images may leave the machine.
        num_images: How many of them, from the first batch.
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
        self._preds: list[NDArray[np.int64]] = []
        self._target: list[NDArray[np.int64]] = []
        self._images: list[wandb.Image] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep predictions, and the first batch's images."""
        if not isinstance(trainer.logger, WandbLogger):
            return
        logits = outputs[:, : len(self.classes)]
        self._preds.append(logits.argmax(1).cpu().numpy())
        self._target.append(batch["expression"].cpu().numpy())
        if batch_idx == 0 and self.log_images:
            pixels = batch["image"][: self.num_images].permute(0, 2, 3, 1).float().cpu().numpy()
            pixels = ((pixels * self.std + self.mean) * 255).round().clip(0, 255).astype(np.uint8)
            for position, image in enumerate(pixels):
                true = self._name(self._target[0][position])
                caption = (
                    f"{batch['name'][position]}: {true}, predicted {self._name(self._preds[0][position])}"
                )
                self._images.append(wandb.Image(image, caption=caption))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send the panels."""
        if isinstance(trainer.logger, WandbLogger) and self._preds:
            preds, target = np.concatenate(self._preds), np.concatenate(self._target)
            labelled = target >= 0
            matrix = wandb.plot.confusion_matrix(
                y_true=target[labelled].tolist(),
                preds=preds[labelled].tolist(),
                class_names=list(self.classes),
            )
            panels: dict[str, Any] = {
                "val/confusion_matrix": matrix,
                "trainer/global_step": trainer.global_step,
            }
            if self._images:
                panels["val/predictions"] = self._images
            trainer.logger.experiment.log(panels)
        self._preds, self._target, self._images = [], [], []

    def _name(self, index: int | torch.Tensor) -> str:
        return self.classes[int(index)] if int(index) >= 0 else "unlabelled"
