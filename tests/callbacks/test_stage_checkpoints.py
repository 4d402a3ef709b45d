"""The best checkpoint is written before the last one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callbacks.stage_checkpoints import StageCheckpoints


def test_a_kill_while_the_best_is_saved_leaves_the_last_epoch_to_be_done_again(tmp_path: Path) -> None:
    checkpoints = StageCheckpoints(tmp_path / "checkpoints", SimpleNamespace(best_epoch=None))  # type: ignore[arg-type]
    saved: list[str] = []

    def save(path: Path) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        saved.append(path.name)

    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=0, save_checkpoint=save)
    module: Any = None
    checkpoints.on_train_start(trainer, module)
    assert (tmp_path / "checkpoints").is_dir()
    checkpoints.on_train_epoch_end(trainer, module)
    assert saved == ["last.ckpt"]
    trainer.current_epoch, checkpoints.staged.best_epoch = 1, 1
    with pytest.raises(KeyboardInterrupt):
        checkpoints.on_train_epoch_end(trainer, module)
    assert saved == ["last.ckpt"]
    trainer.current_epoch, checkpoints.staged.best_epoch = 2, 2
    checkpoints.on_train_epoch_end(trainer, module)
    assert saved == ["last.ckpt", "best.ckpt", "last.ckpt"]
