from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

import callbacks.throughput
from callbacks.throughput import Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(callbacks.throughput, "time", clock)
    return clock


def run_epoch(
    callback: Throughput,
    clock: Clock,
    sizes: list[int],
    seconds: list[float],
    world_size: int = 1,
    epoch: int = 0,
) -> list:
    logged: list[tuple[str, float]] = []
    trainer: Any = SimpleNamespace(world_size=world_size, current_epoch=epoch)
    module: Any = SimpleNamespace(log=lambda name, value, **how: logged.append((name, value)))
    callback.on_train_epoch_start(trainer, module)
    for index, (size, duration) in enumerate(zip(sizes, seconds, strict=True)):
        clock.now += duration
        callback.on_train_batch_end(trainer, module, None, {"name": ["x"] * size}, index)
    clock.now += 1000  # validation
    callback.on_train_epoch_end(trainer, module)
    return logged


def test_images_after_the_warm_up_are_counted(clock: Clock):
    callback = Throughput(warmup=2)
    assert run_epoch(callback, clock, [8, 8, 8, 8, 4], [60, 30, 1, 1, 2]) == [("train/images_per_second", 5.0)]
    assert callback.images_per_second == 5.0


def test_epochs_add_up_and_the_time_between_them_does_not_count(clock: Clock):
    callback = Throughput(warmup=1)
    run_epoch(callback, clock, [10, 10], [1, 1])
    assert run_epoch(callback, clock, [10, 10], [50, 4], epoch=1) == [("train/images_per_second", 2.5)]
    assert callback.images_per_second == pytest.approx(20 / 5)


def test_each_stage_is_counted_for_itself(clock: Clock):
    callback = Throughput(stage_starts=[0, 1], warmup=1)
    run_epoch(callback, clock, [10, 100], [1, 1], epoch=0)  # the classifier alone is quick
    run_epoch(callback, clock, [10, 10], [1, 2], epoch=1)
    run_epoch(callback, clock, [10, 10], [1, 3], epoch=2)
    assert callback.images_per_second == pytest.approx(20 / 5)


def test_a_resumed_stage_continues_counting(clock: Clock):
    first = Throughput(stage_starts=[0, 1], warmup=1)
    run_epoch(first, clock, [10, 10], [1, 2], epoch=1)
    second = Throughput(stage_starts=[0, 1], warmup=1)
    second.load_state_dict(first.state_dict())
    assert second.images_per_second == 5  # though nothing is left to train
    run_epoch(second, clock, [10, 10], [1, 3], epoch=2)
    assert second.images_per_second == pytest.approx(20 / 5)


def test_processes_add_up(clock: Clock):
    assert run_epoch(Throughput(warmup=1), clock, [8, 8], [1, 2], world_size=4)[0][1] == 16


@pytest.mark.parametrize("steps", [1, 2])
def test_epochs_shorter_than_the_warm_up_report_nothing(clock: Clock, steps: int):
    callback = Throughput(warmup=2)
    assert not run_epoch(callback, clock, [8] * steps, [1.0] * steps)
    assert callback.images_per_second is None


class Recorder(pl.loggers.CSVLogger):
    """Keeps what a logger is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.given: list[float] = []

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        self.given += [value for name, value in metrics.items() if name == "train/images_per_second"]


def test_every_epochs_rate_reaches_the_logger(tmp_path: Path):
    """Also where an epoch ends between the steps that are logged."""

    class Network(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.layer(torch.zeros(1, 1)).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.layer.parameters(), lr=0.1)

    module, logger = Network(), Recorder(tmp_path)
    module.layer = torch.nn.Linear(1, 1)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=logger, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, log_every_n_steps=10, callbacks=[Throughput(warmup=1)],
    )  # fmt: skip
    trainer.fit(module, DataLoader([{"name": "x"}] * 4))  # type: ignore[arg-type]
    assert len(logger.given) == 2
