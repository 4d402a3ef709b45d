import errno
import fcntl
import multiprocessing
import os
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import Any, TextIO

import pytest

from affect.storage.locks import LockedError, ProcessLock, StorageError, exclusive, storage_errors


def test_a_full_disk_is_a_message_with_a_remedy(tmp_path: Path) -> None:
    reason = r"store cannot be written: No space left.*free some space"
    with pytest.raises(StorageError, match=reason), storage_errors(tmp_path / "store"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_message_tells_the_size_and_the_free_space_of_the_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked: list[Path] = []
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: asked.append(folder) or usage(9999, 8888, 1111))
    path = tmp_path / "not" / "there" / "store"
    with pytest.raises(StorageError) as caught, storage_errors(path, 1234567):
        raise OSError(number, "Full")
    assert asked == [tmp_path]
    message = f"{path} (1,234,567 bytes) cannot be written: Full; 1,111 bytes are free there."
    assert str(caught.value).startswith(message)
    assert "; free some space and run the same command again" in str(caught.value)


def test_a_refusal_for_another_reason_says_nothing_of_space(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path / "store"):
        raise OSError(errno.EACCES, "Permission denied")
    assert str(caught.value).startswith(f"{tmp_path / 'store'} cannot be written: Permission denied.")
    assert "; fix the cause and run the same command again" in str(caught.value)
    assert "free" not in str(caught.value)
    with pytest.raises(StorageError, match="cannot be written: no number"), storage_errors("store"):
        raise OSError("no number")


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


def test_a_released_lock_leaves_a_file_that_another_has_put_there(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / ".lock")
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").write_text("another's")
    lock.release()
    assert (tmp_path / ".lock").read_text() == "another's"


def test_a_lock_whose_file_is_gone_is_released_all_the_same(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / ".lock")
    (tmp_path / ".lock").unlink()
    lock.release()
    assert not (tmp_path / ".lock").exists()


def test_a_file_that_its_holder_removes_in_between_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_process_goes_on_without_a_lock_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.lockf", refuse)
    if number == errno.EIO:
        with pytest.raises(StorageError, match=r"\.lock cannot be written: no"):
            ProcessLock(tmp_path / ".lock")
    else:
        with pytest.warns(UserWarning, match=r"\.lock: no locks on this file system; run one at a time"):
            ProcessLock(tmp_path / ".lock").release()


def test_a_process_lock_in_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone/\.lock cannot be written"):
        ProcessLock(tmp_path / "gone/.lock")
