"""What Lightning could not run here is refused by key."""

from typing import Any

import pytest
import torch

import experiments.runtime.trainer
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.config.options import ConfigError
from experiments.runtime.trainer import check_limits


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)


def have_gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(experiments.runtime.trainer.CUDAAccelerator, "is_available", staticmethod(lambda: number > 0))
    monkeypatch.setattr(experiments.runtime.trainer.MPSAccelerator, "is_available", staticmethod(lambda: False))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_gpu_that_is_not_there_is_named(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(monkeypatch, 0)
    with pytest.raises(ConfigError, match=rf"trainer\.accelerator={accelerator}, but PyTorch finds no such device"):
        check_limits(TrainerConfig(accelerator=accelerator))
    check_limits(TrainerConfig(accelerator="auto", devices="3"))
    check_limits(TrainerConfig(accelerator="cpu", devices="auto"))


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(monkeypatch, 2)
    check_limits(TrainerConfig(accelerator="gpu", devices="2"))
    check_limits(TrainerConfig(accelerator="cpu", devices="3"))
    for accelerator in ("gpu", "auto"):
        with pytest.raises(ConfigError, match=r"trainer\.devices=3, but this machine has 2 such device"):
            check_limits(TrainerConfig(accelerator=accelerator, devices="3"))


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "16", "half"])
def test_float16_is_refused_everywhere(precision: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.precision must be one of 32-true, bf16-mixed, not '{precision}'"):
        check_limits(TrainerConfig(precision=precision))


@pytest.mark.parametrize(
    ("environment", "settings", "message"),
    [
        ({"NTASKS": "4"}, {}, r"--ntasks=4.*--ntasks-per-node=1 and trainer\.devices=1"),
        ({"NTASKS": "4", "NTASKS_PER_NODE": "4"}, {}, r"4 processes per host.*trainer\.devices=1 means 1"),
        ({"NTASKS": "1", "NNODES": "2", "NTASKS_PER_NODE": "1"}, {}, r"2 hosts.*trainer\.num_nodes=1"),
        ({"NTASKS": "4", "NTASKS_PER_NODE": "4"}, {"devices": "4"}, None),
        ({"NTASKS": "4", "NTASKS_PER_NODE": "2", "NNODES": "2"}, {"devices": "2", "num_nodes": 2}, None),
        ({"NTASKS": "1"}, {}, None),
        ({"NTASKS": "1"}, {"devices": "2"}, r"one process .*trainer\.devices=2 .*--ntasks-per-node=2"),
        ({"NTASKS": "1"}, {"num_nodes": 2}, r"one process .*trainer\.num_nodes=2 .*--nodes=2"),
        ({"NTASKS": "4", "JOB_NAME": "bash"}, {}, None),
        ({}, {"devices": "2"}, None),
    ],
)
def test_the_number_of_processes_is_compared_with_that_of_slurm(
    environment: dict[str, str],
    settings: dict[str, Any],
    message: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(f"SLURM_{name}", text)
    config = TrainerConfig(accelerator="cpu", **settings)
    if message is None:
        check_limits(config)
        return
    with pytest.raises(ConfigError, match=message):
        check_limits(config)
