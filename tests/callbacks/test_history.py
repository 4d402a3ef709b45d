from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch

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


def test_a_resumed_history_goes_on(tmp_path: Path):
    first = History(tmp_path / "history.csv")
    epoch(first, 0, loss_epoch=0.5)
    state = first.state_dict()
    second = History(tmp_path / "history.csv")
    second.load_state_dict(state)
    epoch(second, 1, loss_epoch=0.25)
    assert pd.read_csv(tmp_path / "history.csv")["loss"].tolist() == [0.5, 0.25]


def test_only_the_first_process_writes(tmp_path: Path):
    history = History(tmp_path / "history.csv")
    epoch(history, 0, is_global_zero=False, loss_epoch=0.5)
    assert not list(tmp_path.iterdir())
    assert len(history.table()) == 1
