from types import SimpleNamespace
from typing import Any

import pytest

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
    callback: Throughput, clock: Clock, sizes: list[int], seconds: list[float], world_size: int = 1
) -> list:
    logged: list[tuple[str, float]] = []
    trainer: Any = SimpleNamespace(num_training_batches=len(sizes), world_size=world_size)
    module: Any = SimpleNamespace(log=lambda name, value: logged.append((name, value)))
    for index, (size, duration) in enumerate(zip(sizes, seconds, strict=True)):
        clock.now += duration
        callback.on_train_batch_end(trainer, module, None, {"name": ["x"] * size}, index)
    return logged


def test_images_after_the_warm_up_are_counted(clock: Clock):
    callback = Throughput(warmup=2)
    assert run_epoch(callback, clock, [8, 8, 8, 8, 4], [60, 30, 1, 1, 2]) == [
        ("train/images_per_second", 5.0)
    ]
    assert callback.images_per_second == 5.0


def test_epochs_add_up_and_the_time_between_them_does_not_count(clock: Clock):
    callback = Throughput(warmup=1)
    run_epoch(callback, clock, [10, 10], [1, 1])
    clock.now += 1000  # validation
    assert run_epoch(callback, clock, [10, 10], [50, 4]) == [("train/images_per_second", 2.5)]
    assert callback.images_per_second == pytest.approx(20 / 5)


def test_processes_add_up(clock: Clock):
    assert run_epoch(Throughput(warmup=1), clock, [8, 8], [1, 2], world_size=4)[0][1] == 16


@pytest.mark.parametrize("steps", [1, 2])
def test_epochs_shorter_than_the_warm_up_report_nothing(clock: Clock, steps: int):
    callback = Throughput(warmup=2)
    assert not run_epoch(callback, clock, [8] * steps, [1.0] * steps)
    assert callback.images_per_second is None
