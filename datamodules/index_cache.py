"""A table that is slow to read is kept as parquet, and read anew when its sources change."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from affect.atomic import write_bytes

_VERSION: Final = 2
"""Raise it when the tables' columns or filters change."""
_KEY: Final = b"fingerprint"


def fingerprint(sources: Iterable[Path], root: Path) -> str:
    """Identify the state of files and folders by name, size and time of change of every file.

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
                files = sorted(
                    (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries
                )
        elif source.exists():
            status = source.stat()
            files = [(source.name, status.st_size, status.st_mtime_ns)]
        else:
            files = []
        digest.update(json.dumps([os.path.relpath(source, root), files]).encode())
    return digest.hexdigest()


def cached_table(cache: str | Path, key: str, state: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a table from the cache, or read it and put it there.

    Args:
        cache: Folder of the cache.
        key: What the table is of, for instance the resolved data root; it names the file.
        state: Fingerprint of its sources; a file with another one is replaced.
        read: Reads the table.
    """
    path = Path(cache) / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"
    if path.is_file():
        try:
            table = pq.read_table(path)
            if (table.schema.metadata or {}).get(_KEY) == state.encode():
                return table.to_pandas()
        except (pa.ArrowInvalid, OSError) as error:
            print(f"{path} is damaged ({error}); reading the annotations again")
    frame = read()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: state.encode()})
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    write_bytes(path, memoryview(content.getvalue()))
    return frame
