"""Errors of writing files: a full disk, missing permission and the like become messages for the user."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from affect.errors import UserError


class StorageError(UserError):
    """A file could not be written, for instance because the disk is full; no part of it is left."""


@contextlib.contextmanager
def storage_errors(path: str | Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn an OSError raised in the block into a StorageError that names the file, and its size if it is given.

    Raises:
        StorageError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(_message(Path(path), error, num_bytes)) from error


def _message(path: Path, error: OSError, num_bytes: int | None) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    size = "" if num_bytes is None else f" ({num_bytes:,} bytes)"
    free = f"; {_free_bytes(path):,} bytes are free there" if full else ""
    remedy = "free some space" if full else "fix the cause"
    return (
        f"{path}{size} cannot be written: {error.strerror or error}{free}. No part of it is left and finished files "
        f"are kept; {remedy} and run the same command again to continue"
    )


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(existing).free
