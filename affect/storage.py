"""Disks that refuse, and processes that would write to one place at the same time."""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path


class StorageError(Exception):
    """A file could not be written, for instance because the disk is full; nothing of it is left."""


@contextlib.contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write a file into a message for the user.

    Raises:
        StorageError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "mend the cause"
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. Nothing of it is left and what is finished stays; "
            f"{remedy} and run the same command again to go on"
        ) from error


@contextlib.contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Let one process at a time in, others wait; the lock goes with the process that holds it, however that ends.

    Args:
        path: Of the lock file, which stays.

    Raises:
        StorageError: If there can be no such file.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
