import errno
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from affect.storage import StorageError, exclusive, storage_errors


def test_a_full_disk_is_a_message_with_a_remedy(tmp_path: Path) -> None:
    reason = r"store cannot be written: No space left.*free some space"
    with pytest.raises(StorageError, match=reason), storage_errors(tmp_path / "store"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="mistake"), storage_errors("store"):
        raise ValueError("mistake")


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/\.lock cannot be written"),
        exclusive(tmp_path / "file/.lock"),
    ):
        pass


def test_whoever_would_wait_may_refuse_to(tmp_path: Path) -> None:
    def refuse() -> None:
        raise TimeoutError("busy")

    inner = exclusive(tmp_path / ".lock", refuse)
    with exclusive(tmp_path / ".lock", refuse), pytest.raises(TimeoutError, match="busy"), inner:
        pytest.fail("two at a time")


def test_without_locks_on_the_file_system_a_warning_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.flock", refuse)
    number = errno.ENOSYS
    with pytest.warns(UserWarning, match="no locks on this file system"), exclusive(tmp_path / ".lock"):
        pass
    number = errno.EIO
    with pytest.raises(StorageError), exclusive(tmp_path / ".lock"):
        pass


def hold(path: Path, log: Any, name: str) -> None:
    with exclusive(path):
        log.put(f"{name} in")
        time.sleep(0.3)
        log.put(f"{name} out")


def test_processes_go_in_one_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = context.Queue()
    workers = [context.Process(target=hold, args=(tmp_path / "sub/.lock", log, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    seen = [log.get(timeout=60) for _ in range(6)]
    for worker in workers:
        worker.join()
    assert [line.split()[1] for line in seen] == ["in", "out"] * 3
    assert all(first[0] == second[0] for first, second in zip(seen[::2], seen[1::2], strict=True))
