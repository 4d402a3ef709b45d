import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from affect.errors import InvalidOptionError
from datamodules import loaders as loading
from datamodules.loaders import LoaderError, build_loader, check_shared_memory, loader_errors

MB = 2**20


class Numbers(Dataset[torch.Tensor]):
    """Six numbers; something may happen to the worker that comes to the fourth."""

    def __init__(self, accident: Callable[[], None] = lambda: None) -> None:
        self.accident = accident

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 3:
            self.accident()
        return torch.tensor(index)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def leave(megabytes: int) -> None:
        state = SimpleNamespace(f_bavail=megabytes * 256, f_frsize=4096)
        monkeypatch.setattr(loading.os, "statvfs", lambda path: state)

    return leave


def test_workers_that_have_no_room_are_refused_before_they_start(free: Any) -> None:
    free(64)  # a container's default
    with pytest.raises(
        InvalidOptionError,
        match=r"data.num_workers=8: .* 170 MB .* has 64 MB left.*--shm-size=1g.*data.num_workers=2",
    ):
        build_loader(Numbers(), num_workers=8, batch_bytes=10 * MB)


def test_the_number_that_the_message_gives_fits(free: Any) -> None:
    free(64)
    check_shared_memory(2, 10 * MB)
    with pytest.raises(InvalidOptionError, match=r"upscaling.num_workers=0"):
        check_shared_memory(1, 10 * MB, sharing=3, key="upscaling.num_workers")
    free(90)
    check_shared_memory(1, 10 * MB, sharing=3)


def test_decoding_in_the_main_process_needs_no_shared_memory(free: Any) -> None:
    free(0)
    assert len(list(build_loader(Numbers(), num_workers=0, batch_bytes=10 * MB))) == 6


def test_a_system_without_the_folder_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "SHARED_MEMORY", Path("/nowhere"))
    check_shared_memory(1000, 10**12)


@pytest.mark.timeout(30)
def test_a_worker_that_hangs_ends_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "TIMEOUT", 1)
    # How long the hung worker is waited for.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    expected = r"timed out after 1 seconds.*does not answer.*--shm-size.*num_workers=0"
    with pytest.raises(LoaderError, match=expected), loader_errors():
        list(build_loader(Numbers(lambda: time.sleep(60)), num_workers=1, batch_bytes=8))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "message",
    ["DataLoader worker (pid 7) is killed by signal: Bus error. ", "DataLoader worker (pid(s) 7) exited"],
)
def test_a_worker_that_dies_ends_with_a_message(message: str) -> None:
    with pytest.raises(LoaderError, match="has ended or does not answer"), loader_errors():
        raise RuntimeError(message)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ValueError("DataLoader worker")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), loader_errors():
        raise error
