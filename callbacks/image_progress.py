"""Progress bar of the predict loop that counts images instead of batches."""

from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import ProgressColumn, Task
from rich.text import Text


class ImageProgressBar(RichProgressBar):
    """Progress bar that counts images where Lightning counts batches.

    Args:
        batch_size: Images in a batch of one process.
        num_images: Total number of images. Only the last batch may be smaller, so that a shared or resumed pass counts
            less than one batch too many.
    """

    def __init__(self, batch_size: int, num_images: int) -> None:
        super().__init__(leave=False)
        self.batch_size = batch_size
        self.num_images = num_images

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Replace Lightning's time and speed columns, which average over the last 30 seconds, by PaceColumn."""
        return [*super().configure_columns(trainer)[:-2], PaceColumn()]

    @property
    def predict_description(self) -> str:
        """Label of the bar."""
        return "Images"

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """Number of images."""
        return min(super().total_predict_batches_current_dataloader * self.batch_size, self.num_images)

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Advance the bar by a batch of images."""
        done = min((batch_idx + 1) * self.batch_size, self.num_images)
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, done - 1, *args)


class PaceColumn(ProgressColumn):
    """Elapsed time, remaining time and images per second, averaged over the whole pass.

    Args:
        unit: What is counted.
    """

    def __init__(self, unit: str = "images") -> None:
        super().__init__()
        self.unit = unit
        self._measured = (0.0, 0.0)

    def render(self, task: Task) -> Text:
        """Format times and rate; the rate changes only when images are finished."""
        elapsed = task.elapsed or 0.0
        if task.completed != self._measured[0]:
            self._measured = (task.completed, elapsed)
        done, seconds = self._measured
        parts = [str(timedelta(seconds=int(elapsed)))]
        if done and seconds and task.total is not None:
            left = max(0.0, task.total * seconds / done - elapsed)
            rate = done / seconds
            parts += [
                f"{timedelta(seconds=round(left))} left",
                f"{rate:.{2 if rate < 10 else 0}f} {self.unit}/s",
            ]
        return Text(" • ".join(parts), style="dim")
