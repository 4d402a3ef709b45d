from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from callbacks.finite_loss import FiniteLoss, NonFiniteLossError


class Network(pl.LightningModule):
    """Its loss is what the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.steps = 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.steps += 1
        return self.weight * 0 + batch["loss"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        raise AssertionError("weights were judged although the loss was no number")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(losses: list[float], folder: Path, validate: bool = False) -> Network:
    module = Network()
    data = [
        {"loss": torch.tensor(loss), "name": [f"{step}/a.jpg", f"{step}/b.jpg"]} for step, loss in enumerate(losses)
    ]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[FiniteLoss(), ModelCheckpoint(folder, save_on_train_epoch_end=True)],
    )  # fmt: skip
    try:
        loader = DataLoader(data, batch_size=None)
        trainer.fit(module, loader, DataLoader(data, batch_size=None) if validate else None)
    finally:
        module.steps = trainer.global_step
    return module


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_batch_is_named_one_step_later(value: float, tmp_path: Path):
    with pytest.raises(
        NonFiniteLossError, match=r"step 2 is not finite; its images: 1/a\.jpg, 1/b\.jpg\. .*gradient_clip"
    ):
        fit([1.0, value, 1.0, 1.0, 1.0], tmp_path)


@pytest.mark.parametrize("validate", [False, True])
def test_the_last_step_of_an_epoch_is_checked_before_anything_is_saved_or_judged(tmp_path: Path, validate: bool):
    with pytest.raises(NonFiniteLossError, match=r"step 3 .* 2/a\.jpg"):
        fit([1.0, 1.0, float("nan")], tmp_path, validate)
    assert not list(tmp_path.iterdir())


def test_finite_losses_pass(tmp_path: Path):
    assert fit([1.0, -2.0, 0.0], tmp_path).steps == 3


def test_losses_may_come_in_a_dict():
    callback, trainer = FiniteLoss(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module = Network()
    callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(float("nan"))}, {"name": ["x.jpg"]}, 0)
    with pytest.raises(NonFiniteLossError, match=r"x\.jpg"):
        callback.on_train_epoch_end(trainer, module)
    callback.on_train_epoch_end(trainer, module)  # said once
