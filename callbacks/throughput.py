"""How many images a second training takes in, validation and the first steps left out."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Throughput(Callback):
    """Log `train/images_per_second` per epoch, over all processes.

    Args:
        warmup: Steps at each epoch's start that are not counted: workers start, caches fill.

    Attributes:
        images_per_second: Over the whole fit so far; None before enough steps.
    """

    def __init__(self, warmup: int = 2) -> None:
        self.warmup = warmup
        self.images_per_second: float | None = None
        self._images = self._seconds = 0.0
        self._epoch_images = 0
        self._start = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock after the warm-up; count from then on."""
        if batch_idx + 1 < self.warmup:
            return
        if batch_idx + 1 == self.warmup:
            self._start, self._epoch_images = time.perf_counter(), 0
            return
        self._epoch_images += len(batch["name"]) * trainer.world_size
        if batch_idx + 1 == trainer.num_training_batches:
            seconds = time.perf_counter() - self._start
            self._images += self._epoch_images
            self._seconds += seconds
            self.images_per_second = self._images / self._seconds
            pl_module.log("train/images_per_second", self._epoch_images / seconds)
