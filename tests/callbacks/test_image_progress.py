import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.progress import Progress
from torch.utils.data import DataLoader

from callbacks.image_progress import ImageProgressBar, PaceColumn


class Passing(pl.LightningModule):
    def predict_step(self, batch, batch_idx):
        return batch


class Watcher(Callback):
    """Reads the bar after each batch; callbacks run in order, so it comes after the bar."""

    def __init__(self, bar: ImageProgressBar) -> None:
        self.bar, self.seen = bar, []

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        task = self.bar.progress.tasks[-1]
        self.seen.append((task.completed, task.total, "Images" in task.description))


def test_images_are_counted_not_batches():
    bar = ImageProgressBar(4, 10)
    watcher = Watcher(bar)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[bar, watcher],
    )
    trainer.predict(Passing(), DataLoader(torch.zeros(10, 1), batch_size=4), return_predictions=False)
    assert isinstance(bar.progress.columns[-2], PaceColumn)  # Lightning adds one for metrics
    assert not any("Speed" in type(column).__name__ for column in bar.progress.columns)
    assert watcher.seen == [(4, 10, True), (8, 10, True), (10, 10, True)]


def test_rate_and_time_left_are_those_of_images_in_slow_batches_too():
    clock, column = [0.0], PaceColumn()
    progress = Progress(column, get_time=lambda: clock[0], auto_refresh=False)
    progress.add_task("Images", total=64)
    task = progress.tasks[0]

    def shown(seconds: float, completed: int) -> str:
        clock[0] = seconds
        progress.update(task.id, completed=completed)
        return column(task).plain

    assert shown(5, 0) == "0:00:05"
    assert shown(110, 16) == "0:01:50 • 0:05:30 left • 0.15 images/s"
    assert shown(140, 16) == "0:02:20 • 0:05:00 left • 0.15 images/s", "within a batch the clock goes on"
    assert shown(220, 32) == "0:03:40 • 0:03:40 left • 0.15 images/s"
    assert shown(221, 64) == "0:03:41 • 0:00:00 left • 0.29 images/s"


def test_fast_rates_are_whole_numbers():
    clock = [0.0]
    progress = Progress(get_time=lambda: clock[0], auto_refresh=False)
    progress.add_task("Images", total=1000)
    task = progress.tasks[0]
    clock[0] = 2.0
    progress.update(task.id, completed=500)
    assert PaceColumn().render(task).plain == "0:00:02 • 0:00:02 left • 250 images/s"
