"""Checkpoints stand whole or not at all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callbacks.stage_checkpoints import StageCheckpoints


def test_a_kill_while_saving_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoints = StageCheckpoints(tmp_path / "checkpoints", SimpleNamespace(best_epoch=None))  # type: ignore[arg-type]
    saved = ["whole"]

    def save(path: Path) -> None:
        Path(path).write_text(saved[0][:2])
        if saved[0] == "killed":
            raise KeyboardInterrupt
        Path(path).write_text(saved[0])

    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=0, save_checkpoint=save)
    module: Any = None
    checkpoints.on_train_start(trainer, module)
    checkpoints.on_train_epoch_end(trainer, module)
    assert not (tmp_path / "checkpoints/best.ckpt").exists()
    saved[0], trainer.current_epoch, checkpoints.staged.best_epoch = "killed", 1, 1
    with pytest.raises(KeyboardInterrupt):
        checkpoints.on_train_epoch_end(trainer, module)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == "whole"
    assert not (tmp_path / "checkpoints/best.ckpt").exists()
    saved[0] = "again"
    checkpoints.on_train_epoch_end(trainer, module)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]
