"""A progress bar of the predict loop that counts images, so that its rate is images a second."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar


class ImageProgressBar(RichProgressBar):
    """Count images where Lightning counts batches.

    Args:
        batch_size: Images in a batch of one process (the last one may hold fewer).
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__(leave=False)
        self.batch_size = batch_size

    @property
    def predict_description(self) -> str:
        """What stands before the bar."""
        return "Images"

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """How many images there are to do."""
        return super().total_predict_batches_current_dataloader * self.batch_size

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move the bar by a batch of images."""
        done = (batch_idx + 1) * self.batch_size
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, done - 1, dataloader_idx)
