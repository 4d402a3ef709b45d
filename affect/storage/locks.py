"""Locks between processes that write to the same place."""

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO

from affect.errors import UserError
from affect.storage.write_errors import storage_errors

_UNSUPPORTED: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of file systems without locks."""


class LockedError(UserError):
    """Another process holds a lock; the message names the process."""


@contextlib.contextmanager
def exclusive_lock(path: str | Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock during the block; other processes wait for it. It is released however the process ends.

    On a file system without locks, a warning is given and the block runs without one.

    Args:
        path: The lock file, which is left in place.
        on_wait: Called before waiting for another process; it may raise an error instead.

    Raises:
        StorageError: If the file cannot be created or locked.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        if not _flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            on_wait()
            _flock(lock, fcntl.LOCK_EX)
        yield


def _flock(lock: TextIO, operation: int) -> bool:
    """Return whether the lock was acquired; False if another process holds it."""
    with storage_errors(lock.name):
        try:
            fcntl.flock(lock, operation)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            _warn_without_lock(lock.name)
    return True


def _warn_without_lock(path: str | Path) -> None:
    warnings.warn(f"{path}: this file system has no locks; do not run two commands at once", stacklevel=5)


class ProcessLock:
    """A lock that this process holds until it ends; forked workers do not inherit it.

    On a file system without locks, a warning is given and other processes may hold it too.

    Args:
        path: The lock file, which `release` removes.

    Attributes:
        is_exclusive: False on a file system without locks.

    Raises:
        LockedError: If another process holds it.
        StorageError: If the file cannot be created or locked.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_exclusive = True
        with storage_errors(self.path):
            self._file = self._locked_file()
            while not self._is_in_place():  # the previous holder has just removed the file
                self._file.close()
                self._file = self._locked_file()
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()

    def release(self) -> None:
        """Release the lock; does nothing the second time."""
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
            if error.errno not in _UNSUPPORTED:
                file.close()
                raise
            self.is_exclusive = False
            _warn_without_lock(self.path)
        return file

    def _is_in_place(self) -> bool:
        """Return whether the path still leads to the locked file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False
