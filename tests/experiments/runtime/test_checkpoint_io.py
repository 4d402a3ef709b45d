"""Checkpoints are written in their own folder, whole or not at all, and damaged ones are named."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from affect.errors import InvalidFileError
from affect.storage.write_errors import StorageError
from callbacks.history import History
from experiments.runtime.checkpoint_io import AtomicCheckpointIO, check_resumable
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.trainer import build_trainer

MODULE = nn.Linear(3, 2)


def checkpoint(**changes: Any) -> dict[str, Any]:
    whole = {
        "state_dict": MODULE.state_dict(), "optimizer_states": [{}], "loops": {}, "epoch": 0, "global_step": 1,
        "callbacks": {"History": {"rows": []}},
    }  # fmt: skip
    return {**whole, **changes}


def test_a_trainer_writes_checkpoints_in_their_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build_trainer(TrainerConfig(accelerator="cpu"), logger=False)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))  # a $TMPDIR that takes nothing
    trainer.strategy.checkpoint_io.save_checkpoint(checkpoint(), tmp_path / "new" / "last.ckpt")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]
    found = trainer.strategy.checkpoint_io.load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert torch.equal(found["state_dict"]["weight"], MODULE.weight)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(), path)
    before = path.read_bytes()

    def fill_up(part: Path, content: bytes) -> int:
        with part.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(StorageError, match=r"last\.ckpt \([\d,]+ bytes\) cannot be written: No space left"):
        io.save_checkpoint(checkpoint(epoch=1), path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert path.read_bytes() == before


class Code:
    """Pickles as a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"garbage" * 100, "cannot be read"),
        (b"truncated", "cannot be read"),
        ({"code": Code()}, "cannot be read"),
        ([1, 2], "holds a list"),
        ({"state_dict": {}}, "has no optimizer_states, loops"),
        (checkpoint(callbacks={}), "lacks the state of History"),
        (checkpoint(callbacks={"History": {}}), "lacks the state of History"),
        (checkpoint(state_dict={"weight": torch.zeros(2, 3)}), "not those of this network, for example bias"),
        (checkpoint(state_dict={"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}), r"has shape \(2, 4\)"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "last.ckpt"
    if content == b"truncated":
        torch.save(checkpoint(), path)
        path.write_bytes(path.read_bytes()[:-200])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InvalidFileError, match=rf"last\.ckpt is damaged, .*{reason}.*without resume="):
        check_resumable(path, MODULE, [History(tmp_path / "history.csv")])


def test_a_whole_checkpoint_is_accepted(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "last.ckpt")
    check_resumable(tmp_path / "last.ckpt", MODULE, [History(tmp_path / "history.csv")])
