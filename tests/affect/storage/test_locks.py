import errno
import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any, TextIO

import pytest

from affect.storage.locks import LockedError, ProcessLock, exclusive_lock
from affect.storage.write_errors import StorageError


def test_a_lock_file_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/\.lock cannot be written"),
        exclusive_lock(tmp_path / "file/.lock"),
    ):
        pass


def test_on_wait_may_raise_instead_of_waiting(tmp_path: Path) -> None:
    def refuse() -> None:
        raise TimeoutError("busy")

    inner = exclusive_lock(tmp_path / ".lock", refuse)
    with exclusive_lock(tmp_path / ".lock", refuse), pytest.raises(TimeoutError, match="busy"), inner:
        pytest.fail("two at a time")


def test_a_file_system_without_locks_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.flock", refuse)
    number = errno.ENOSYS
    with pytest.warns(UserWarning, match="this file system has no locks"), exclusive_lock(tmp_path / ".lock"):
        pass
    number = errno.EIO
    with pytest.raises(StorageError), exclusive_lock(tmp_path / ".lock"):
        pass


def hold(path: Path, log: Path, name: str) -> None:
    """Write down when the lock is taken and released: to a file, since a queue sends later than it is told to."""
    with exclusive_lock(path):
        for event in ("in", "out"):
            with log.open("a") as file:
                file.write(f"{name} {event}\n")
            time.sleep(0.3)


def test_one_process_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log.txt"
    workers = [context.Process(target=hold, args=(tmp_path / "sub/.lock", log, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    seen = log.read_text().splitlines()
    assert [line.split()[1] for line in seen] == ["in", "out"] * 3
    assert all(first[0] == second[0] for first, second in zip(seen[::2], seen[1::2], strict=True))


def hold_until_killed(path: Path, ready: Any, with_child: bool) -> None:
    lock = ProcessLock(path)
    child = os.fork() if with_child else -1
    if child == 0:
        time.sleep(5)  # outlives its parent
        os._exit(0)
    ready.put(child)
    time.sleep(60)
    lock.release()


@pytest.mark.parametrize("with_child", [False, True])
def test_a_process_holds_its_lock_until_it_ends(tmp_path: Path, with_child: bool) -> None:
    path = tmp_path / ".lock"
    context = multiprocessing.get_context("fork")
    ready = context.Queue()
    holder = context.Process(target=hold_until_killed, args=(path, ready, with_child))
    holder.start()
    child = ready.get(timeout=60)
    with pytest.raises(LockedError, match=f"^process {holder.pid} on .+$"):
        ProcessLock(path)
    holder.kill()
    holder.join()
    lock = ProcessLock(path)
    if with_child:
        os.kill(child, signal.SIGKILL)  # it was still there, without the lock
    assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert len(path.read_text().splitlines()) == 1
    lock.release()
    assert not path.exists()
    lock.release()  # once more does nothing


def test_release_keeps_a_lock_file_of_another_process(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / ".lock")
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").write_text("another's")
    lock.release()
    assert (tmp_path / ".lock").read_text() == "another's"


def test_a_lock_can_be_released_after_its_file_was_removed(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / ".lock")
    (tmp_path / ".lock").unlink()
    lock.release()
    assert not (tmp_path / ".lock").exists()


def test_a_lock_file_removed_during_locking_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    take, calls = fcntl.lockf, []

    def take_too_late(file: TextIO, operation: int) -> None:
        calls.append(file)
        take(file, operation)
        if len(calls) < 3:
            path.unlink()

    monkeypatch.setattr("fcntl.lockf", take_too_late)
    lock = ProcessLock(path)
    assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert [file.closed for file in calls] == [True, True, False]
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_process_lock_on_a_file_system_without_locks_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.lockf", refuse)
    if number == errno.EIO:
        with pytest.raises(StorageError, match=r"\.lock cannot be written: no"):
            ProcessLock(tmp_path / ".lock")
    else:
        with pytest.warns(UserWarning, match=r"\.lock: this file system has no locks; do not run two"):
            ProcessLock(tmp_path / ".lock").release()


def test_a_process_lock_in_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone/\.lock cannot be written"):
        ProcessLock(tmp_path / "gone/.lock")
