"""Files appear whole or not at all: written under a temporary name in the same folder, then renamed."""

import contextlib
import io
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from affect.storage.write_errors import storage_errors


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on an error it is removed.

    The temporary name keeps the suffix, since writers choose a format by it. Parent folders are made. Where the
    content fits into memory, use `write_bytes`: libraries replace the reason why a file cannot be written by their own.

    Raises:
        StorageError: If the file cannot be written.
    """
    with storage_errors(path), _temporary_path(Path(path)) as temporary:
        yield temporary


@contextlib.contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named before it is made: a signal that arrives while it is being made leaves nothing behind.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Tell by its name whether a file was left by a write that a kill interrupted."""
    return path.name.startswith(".") and ".part." in f"{path.name}."


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write bytes atomically.

    Raises:
        StorageError: If the file cannot be written; the message tells its size.
    """
    with storage_errors(path, len(content)), _temporary_path(Path(path)) as temporary:
        temporary.write_bytes(content)


def write_array(path: str | Path, values: np.ndarray) -> None:
    """Write an array in NumPy's npy format, atomically.

    Raises:
        StorageError: If the file cannot be written.
    """
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_bytes(path, content.getbuffer())


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since they are not JSON.

    Raises:
        StorageError: If the file cannot be written.
        ValueError: If `content` holds NaN or infinity.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
