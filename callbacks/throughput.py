"""Training images per second, without validation and the first steps."""

import time
from collections.abc import Collection
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Throughput(Callback):
    """Log `train/images_per_second` per epoch, over all processes.

    Args:
        stage_starts: First epoch of each stage, where counting restarts.
        warmup: Steps at each epoch's start that are not counted: workers start, caches fill.
    """

    def __init__(self, stage_starts: Collection[int] = (), warmup: int = 2) -> None:
        self.stage_starts = stage_starts
        self.warmup = warmup
        self._images = self._seconds = 0.0
        self._epoch_images = self._epoch_seconds = 0.0
        self._start = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Mean rate of the current stage, also across a resume; None before enough steps."""
        return self._images / self._seconds if self._seconds else None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the epoch's count."""
        self._epoch_images = self._epoch_seconds = 0.0
        if trainer.current_epoch in self.stage_starts:
            self._images = self._seconds = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock after the warm-up; count from then on."""
        if batch_idx + 1 == self.warmup:
            self._start = time.perf_counter()
        elif batch_idx + 1 > self.warmup:
            self._epoch_images += len(batch["name"]) * trainer.world_size
            self._epoch_seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's rate: as an epoch's value, since a step's is sent only every few steps."""
        if self._epoch_seconds:
            self._images += self._epoch_images
            self._seconds += self._epoch_seconds
            rate = self._epoch_images / self._epoch_seconds
            pl_module.log("train/images_per_second", rate, on_step=False, on_epoch=True, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Save the stage's count."""
        return {"images": self._images, "seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the stage's count."""
        self._images, self._seconds = state_dict["images"], state_dict["seconds"]
