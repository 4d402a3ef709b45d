"""A run with W&B offline, as everyone has it who is not logged in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb

from experiments.pretrain.train import PretrainConfig, pretrain
from experiments.runtime.config.load import load_config

Runner = Callable[..., dict[str, float]]


@pytest.fixture
def _stop_wandb() -> Iterator[None]:
    """End W&B's own process."""
    yield
    wandb.teardown()


@pytest.mark.usefixtures("no_figures", "_stop_wandb")
def test_an_offline_run_is_complete_and_a_resumed_one_continues_it(run_pretrain: Runner, tmp_path: Path):
    run_pretrain(
        tmp_path, "stages.classifier.epochs=0", "stages.everything.epochs=2", "trainer.max_epochs=1",
        "wandb.mode=offline",
    )  # fmt: skip
    latest = tmp_path / "pretrain" / "latest"
    first = (latest / "wandb").resolve()
    identity = (latest / "wandb_id").read_text()
    assert first.parent == tmp_path / "wandb"
    assert first.name.endswith(f"-{identity}")
    sent = (first / f"run-{identity}.wandb").read_bytes()
    wanted = (
        "train/loss", "train/images_per_second", "val/expression_f1/Anger",
        "val/confusion_matrix", "wall_seconds", "pretrain-backbone", "backbone.safetensors", "best.ckpt",
    )  # fmt: skip
    assert not [name for name in wanted if name.encode() not in sent]
    assert b"val/predictions" not in sent  # images of a set that was not drawn
    # The artifact's files are those of the run folder: no second copy of a checkpoint lies about.
    assert str(latest.resolve() / "checkpoints" / "best.ckpt").encode() in sent
    copies = [path for path in (tmp_path / "wandb").rglob("*") if path.stat().st_size > 1_000_000]
    assert not copies

    words = ["resume=latest", f"output_dir={tmp_path}", "trainer.max_epochs=2"]
    pretrain(load_config(PretrainConfig, "pretrain", words, "debug"))
    second = (latest / "wandb").resolve()
    assert second != first
    assert (latest / "wandb_id").read_text() == identity
    assert b"train/images_per_second" in (second / f"run-{identity}.wandb").read_bytes()
