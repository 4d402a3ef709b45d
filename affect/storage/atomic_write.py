"""Atomic writes: a file is written under a temporary name in the same folder and then renamed."""

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
    """Yield a temporary path beside `path`; the file replaces `path` on success and is removed on an error.

    The temporary name keeps the suffix, since writers choose a format by it. Parent folders are created. Prefer
    `write_bytes` for content that fits into memory: its error messages are more precise than those of most libraries.

    Raises:
        StorageError: If the file cannot be written.
    """
    with storage_errors(path), _temporary_path(Path(path)) as temporary:
        yield temporary


@contextlib.contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named before it is created, so that a signal during the creation leaves nothing behind.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Return whether a file, by its name, was left behind by a write that was killed."""
    return path.name.startswith(".") and ".part." in f"{path.name}."


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write bytes atomically.

    Raises:
        StorageError: If the file cannot be written; the message contains its size.
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
    """Write indented JSON atomically; NaN and infinity are refused, since JSON does not have them.

    Raises:
        StorageError: If the file cannot be written.
        ValueError: If `content` holds NaN or infinity.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
