from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from callbacks.history import History


def epoch(history: History, number: int, is_global_zero: bool = True, **metrics: float) -> None:
    trainer: Any = SimpleNamespace(
        current_epoch=number,
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
        is_global_zero=is_global_zero,
    )
    history.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]


def test_a_row_per_epoch_is_written_without_step_values(tmp_path: Path):
    history = History(tmp_path / "run" / "history.csv")
    epoch(history, 0, loss_step=9.0, loss_epoch=0.5, accuracy=0.25)
    epoch(history, 1, loss_step=9.0, loss_epoch=0.25, accuracy=0.5, extra=1.0)
    table = pd.read_csv(tmp_path / "run" / "history.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["loss"].tolist() == [0.5, 0.25]
    assert table["accuracy"].tolist() == [0.25, 0.5]
    assert table["extra"].isna().tolist() == [True, False]
    assert set(table) == {"epoch", "loss", "accuracy", "extra"}
    pd.testing.assert_frame_equal(history.table(), table, check_dtype=False)


def test_only_the_first_process_writes(tmp_path: Path):
    history = History(tmp_path / "history.csv")
    epoch(history, 0, is_global_zero=False, loss_epoch=0.5)
    assert not list(tmp_path.iterdir())
    assert len(history.table()) == 1


class Doubling(pl.LightningModule):
    """A weight that doubles each step, from 1, logged at every place where a module may log."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.ones(()))

    def configure_optimizers(self) -> None:
        return None

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        with torch.no_grad():
            self.weight *= 2
        self.log("step", self.weight.detach().clone(), on_step=True, on_epoch=True, batch_size=1)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val", self.weight.detach().clone(), batch_size=1)

    def on_train_epoch_end(self) -> None:
        self.log("module", self.weight.detach().clone())
        if self.current_epoch < 2:
            self.log("early", self.weight.detach().clone())


class Logger(pl.Callback):
    """Logs at the epoch's end, though it comes after the history in the list."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log("callback", pl_module.weight.detach().clone())


class Last(pl.callbacks.Checkpoint):
    """Saves after every epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.path)


def fit(folder: Path, epochs: int, resume: bool = False) -> pd.DataFrame:
    history = History(folder / "history.csv")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, callbacks=[history, Last(folder / "last.ckpt"), Logger()],
    )  # fmt: skip
    data = DataLoader(torch.zeros(2, 1), batch_size=1)
    ckpt = folder / "last.ckpt" if resume else None
    trainer.fit(Doubling(), data, data, ckpt_path=ckpt, weights_only=True)
    return pd.read_csv(folder / "history.csv")


@pytest.mark.parametrize("stopped_after", [None, 1, 2, 3])
def test_a_row_holds_all_that_its_epoch_logged_also_after_a_resume(tmp_path: Path, stopped_after: int | None):
    if stopped_after:
        assert len(fit(tmp_path, stopped_after)) == stopped_after
    table = fit(tmp_path, 4, resume=stopped_after is not None)
    ends = [4.0, 16.0, 64.0, 256.0]  # two steps an epoch
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["step"].tolist() == [0.75 * end for end in ends]  # the mean of the last value and its half
    for name in ("val", "module", "callback"):
        assert table[name].tolist() == ends, name
    assert table["early"].iloc[:2].tolist() == ends[:2]
    assert table["early"].iloc[2:].isna().all(), "a value that an epoch did not log is not that of an earlier one"
