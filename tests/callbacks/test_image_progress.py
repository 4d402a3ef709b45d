import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from callbacks.image_progress import ImageProgressBar


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
    bar = ImageProgressBar(4)
    watcher = Watcher(bar)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[bar, watcher],
    )
    trainer.predict(Passing(), DataLoader(torch.zeros(12, 1), batch_size=4), return_predictions=False)
    assert watcher.seen == [(4, 12, True), (8, 12, True), (12, 12, True)]
