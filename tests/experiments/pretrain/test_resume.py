import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import experiments.runtime.fit
from affect.metrics import ExpressionMetrics
from affect.networks.backbone_file import load_backbone
from callbacks.throughput import Throughput
from experiments.pretrain.train import PretrainConfig, pretrain
from experiments.runtime.config.load import load_config

Runner = Callable[..., dict[str, float]]


class Stop(Exception):
    """Stands for whatever kills a run."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> list[tuple[int, int]]:
    """Let a run die after a step; the list returned fills with the steps it takes."""
    steps: list[tuple[int, int]] = []

    class Interrupter(Throughput):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, data: Any, batch_idx: int) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, data, batch_idx)
            steps.append((trainer.current_epoch, batch_idx))
            if steps[-1] == (epoch, batch):
                raise Stop

    monkeypatch.setattr(experiments.runtime.fit, "Throughput", Interrupter)
    return steps


def resume(out: Path) -> None:
    pretrain(load_config(PretrainConfig, "pretrain", ["resume=latest", f"output_dir={out}"], "debug"))


def assert_same_result(found: Path, expected: Path) -> None:
    one, other = (load_backbone(folder / "backbone.safetensors")[0].state_dict() for folder in (found, expected))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    tables = [
        pd.read_csv(folder / "history.csv").filter(regex="^(?!.*images_per_second)") for folder in (found, expected)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (found, expected)]
    for clock in ("wall_seconds", "train/images_per_second"):
        for one_metrics in metrics:
            one_metrics.pop(clock, None)
    assert metrics[0] == metrics[1]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("epoch", "batch"), [(0, 2), (1, 2), (2, 0), (3, 2), (4, 4)],
    ids=["before any checkpoint", "in stage 1", "as stage 2 begins", "in the middle of stage 2", "at the last step"],
)  # fmt: skip
def test_a_killed_and_resumed_run_ends_bit_for_bit_like_one_that_ran_through(
    epoch: int,
    batch: int,
    run_pretrain: Runner,
    through: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    steps = interrupt_at(monkeypatch, epoch, batch)
    with pytest.raises(Stop):
        run_pretrain(tmp_path)
    assert steps[-1] == (epoch, batch)
    (folder,) = (tmp_path / "pretrain").iterdir()

    torch.rand(17)  # another process's random state
    steps = interrupt_at(monkeypatch, -1, -1)
    resume(tmp_path)
    assert steps[0] == (epoch, 0)  # at most one epoch is done twice
    assert (tmp_path / "pretrain" / "latest").resolve() == folder.resolve()
    assert_same_result(folder, through)


@pytest.mark.usefixtures("no_figures")
def test_workers_do_not_change_the_result_nor_the_resume(
    run_pretrain: Runner, through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupt_at(monkeypatch, 3, 1)
    with pytest.raises(Stop):
        run_pretrain(tmp_path, "data.num_workers=2")
    interrupt_at(monkeypatch, -1, -1)
    resume(tmp_path)
    assert_same_result(tmp_path / "pretrain" / "latest", through)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("workers", [0, 2])
def test_augmented_images_are_the_same_in_a_resumed_run(
    run_pretrain: Runner, through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    strong = ("rotation=15", "scale=0.15", "shift=0.06", "colour=0.3", "grey=0.3", "blur=0.2", "erase=0.4")
    words = [f"data.num_workers={workers}", "stages.everything.keep=last", *(f"data.augment.{word}" for word in strong)]
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    run_pretrain(undisturbed, *words)
    interrupt_at(monkeypatch, 3, 2)
    with pytest.raises(Stop):
        run_pretrain(stopped, *words)
    interrupt_at(monkeypatch, -1, -1)
    torch.rand(17)
    resume(stopped)
    found, expected = (folder / "pretrain" / "latest" for folder in (stopped, undisturbed))
    assert_same_result(found, expected)
    history = pd.read_csv(expected / "history.csv")
    assert json.loads((found / "metrics.json").read_text())["val/expression_accuracy"] == pytest.approx(
        history["val/expression_accuracy"].iloc[-1]
    )
    assert not np.allclose(history["train/loss"], pd.read_csv(through / "history.csv")["train/loss"], atol=1e-4)


@pytest.mark.usefixtures("no_figures")
def test_a_run_killed_while_it_closes_still_keeps_the_best_weights(
    run_pretrain: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*arguments: Any) -> None:
        raise Stop

    fading = (torch.tensor(0.99**number) for number in itertools.count())  # the first epoch is the best
    compute = ExpressionMetrics.compute
    monkeypatch.setattr(
        ExpressionMetrics, "compute", lambda self: compute(self) | {"expression_accuracy": next(fading)}
    )
    with monkeypatch.context() as patched:
        patched.setattr(experiments.runtime.fit, "validate", fail)
        with pytest.raises(Stop):
            run_pretrain(tmp_path, "stages.classifier.epochs=0", "stages.everything.epochs=2")
    resume(tmp_path)
    folder = tmp_path / "pretrain" / "latest"
    assert "train/images_per_second" in json.loads((folder / "metrics.json").read_text())
    kept = load_backbone(folder / "backbone.safetensors")[0].classifier.weight
    best, last = (
        torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        for name in ("best", "last")
    )
    assert torch.equal(kept, best["backbone.classifier.weight"])
    assert not torch.equal(kept, last["backbone.classifier.weight"])
