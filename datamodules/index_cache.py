"""A table that is slow to read is kept as parquet after its checksum, and read anew when its sources change."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pytorch_lightning.utilities import rank_zero_warn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.atomic_write import write_bytes
from affect.storage.locks import StorageError
from affect.storage.text_file import read_regular

_VERSION: Final = 3
"""Raise it when the tables' columns or filters change."""
_KEY: Final = b"fingerprint"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def fingerprint(sources: Iterable[Path], root: Path) -> str:
    """Identify the state of files and folders by name, size and time of change of every file but hidden ones.

    Args:
        sources: What to look at; what does not exist counts as empty.
        root: What their names are relative to.

    Returns:
        A hexadecimal digest that is stable until a file is added, removed or written.
    """
    digest = hashlib.sha256(str(_VERSION).encode())
    for source in sources:
        if source.is_dir():
            with os.scandir(source) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
                files = sorted((entry.name, *_state(entry)) for entry in visible)
        elif source.exists():
            status = source.stat()
            files = [(source.name, status.st_size, status.st_mtime_ns)]
        else:
            files = []
        digest.update(json.dumps([os.path.relpath(source, root), files]).encode())
    return digest.hexdigest()


def _state(entry: os.DirEntry) -> tuple[int, int]:
    """Size and time of change of what an entry links to, or of the link itself where it leads nowhere."""
    try:
        status = entry.stat()
    except OSError:
        status = entry.stat(follow_symlinks=False)
    return status.st_size, status.st_mtime_ns


def cached_table(cache: str | Path, key: str, state: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a table from the cache, or read it and put it there.

    The cache saves time only: a damaged file is replaced with a message, and a folder that cannot be read or written
    gives a warning. Processes may read and write the same file at once.

    Args:
        cache: Folder of the cache.
        key: What the table is of, for instance the resolved data root; it names the file.
        state: Fingerprint of its sources; a file with another one is replaced.
        read: Reads the table.
    """
    path = Path(cache) / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.table"
    table = _load(path, state)
    if table is not None:
        return table.to_pandas()
    frame = read()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: state.encode()})
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    content = file.getvalue().to_pybytes()
    try:
        write_bytes(path, hashlib.sha256(content).digest() + content)
    except StorageError as error:
        rank_zero_warn(
            f"the annotations are read anew by every run, since their cache cannot be kept: {error}"
        )
    return frame


def _load(path: Path, state: str) -> pa.Table | None:
    """Read a table if the cache holds it in the state asked for."""
    try:
        content = read_regular(path)
        if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            raise InvalidFileError(f"{path}: damaged: its content does not have its checksum")
        table = pq.read_table(pa.BufferReader(content[_DIGEST_BYTES:]))
    except MissingFileError:
        return None
    except (InvalidFileError, pa.ArrowException, OSError, ValueError) as error:
        print(f"{error}; reading the annotations again")
        return None
    return table if (table.schema.metadata or {}).get(_KEY) == state.encode() else None
