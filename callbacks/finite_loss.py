"""Stop training, naming the batch, when the loss is not finite."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from affect.errors import UserError


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; the message names the batch's images."""


class FiniteLoss(Callback):
    """Check each step's loss one step later, so that it need not wait for a GPU."""

    def __init__(self) -> None:
        self._pending: tuple[Tensor, int, list[str]] | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the previous step and keep this one's loss."""
        self._check()
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self._pending = (torch.isfinite(loss), trainer.global_step, batch["name"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last step before validation, and before anything is saved."""
        self._check()

    on_validation_start = on_train_epoch_end

    def _check(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not bool(pending[0]):
            _, step, names = pending
            raise NonFiniteLossError(
                f"the loss of step {step} is not finite; its images: {', '.join(names)}. Look at them and "
                "their labels, or lower the learning rate, or clip gradients (optimizer.gradient_clip_norm)"
            )
