"""Writes that the operating system refuses, and locks between processes that write to the same place."""

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from affect.errors import UserError


class StorageError(UserError):
    """A file could not be written, for instance because the disk is full; nothing of it is left."""


class LockedError(UserError):
    """Another process holds a lock; the message says which."""


@contextlib.contextmanager
def storage_errors(path: str | Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn the operating system's refusal to write a file into a StorageError.

    Args:
        path: The file or folder.
        num_bytes: Size of the file in bytes, for the message.

    Raises:
        StorageError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(_refusal(Path(path), error, num_bytes)) from error


def _refusal(path: Path, error: OSError, num_bytes: int | None) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    size = "" if num_bytes is None else f" ({num_bytes:,} bytes)"
    free = f"; {_free_bytes(path):,} bytes are free there" if full else ""
    remedy = "free some space" if full else "fix the cause"
    return (
        f"{path}{size} cannot be written: {error.strerror or error}{free}. No part of it is left and finished files "
        f"stay; {remedy} and run the same command again to continue"
    )


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(existing).free


@contextlib.contextmanager
def exclusive(path: str | Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one process at a time in, others wait; the lock goes with the process that holds it, however that ends.

    Args:
        path: Of the lock file, which stays.
        on_wait: Called before waiting for another process; it may raise instead.

    Raises:
        StorageError: If there can be no such file, or no lock on it for another reason than that the file system has
            none: then a warning says so.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        if not _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            on_wait()
            _locked(lock, fcntl.LOCK_EX)
        yield


def _locked(lock: TextIO, operation: int) -> bool:
    """Try to get a lock; tell whether it was to be had."""
    with storage_errors(lock.name):
        try:
            fcntl.flock(lock, operation)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            warnings.warn(f"{lock.name}: no locks on this file system; run one at a time", stacklevel=4)
    return True


class ProcessLock:
    """A lock that this process holds until it ends, however it ends; its forked workers do not hold it.

    Args:
        path: Of the lock file, which `release` removes.

    Attributes:
        is_exclusive: False on a file system without locks, where other processes may hold it too.

    Raises:
        LockedError: If another process holds it.
        StorageError: If there can be no such file, or no lock on it for another reason than that the file system has
            none: then a warning says so.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_exclusive = True
        with storage_errors(self.path):
            self._file = self._locked_file()
            while not self._is_in_place():  # its holder has removed it in between
                self._file.close()
                self._file = self._locked_file()
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()

    def release(self) -> None:
        """Let others in."""
        if not self._file.closed:
            if self._is_in_place():
                self.path.unlink()
            self._file.close()

    def _locked_file(self) -> TextIO:
        file = self.path.open("a+", encoding="utf-8")
        try:
            # Unlike flock, lockf is not inherited by forked loader workers, which may outlive a killed process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                with file:
                    file.seek(0)
                    raise LockedError(file.read().strip() or "another process") from None
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                file.close()
                raise
            self.is_exclusive = False
            warnings.warn(f"{self.path}: no locks on this file system; run one at a time", stacklevel=4)
        return file

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False
