"""Cache of tables that are slow to read, as checksummed parquet, invalidated when their sources change."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pytorch_lightning.utilities import rank_zero_warn

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.atomic_write import write_bytes
from affect.storage.fingerprint import content_digest
from affect.storage.text_file import read_regular
from affect.storage.write_errors import StorageError

_VERSION: Final = 3
"""Increase when the tables' columns or filters change."""
_KEY: Final = b"fingerprint"
_DIGEST_BYTES: Final = 32


def cached_table(cache: str | Path, key: str, state: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a table from the cache, or read it and store it there.

    A damaged cache file is replaced with a message; a folder that cannot be read or written causes a warning. Processes
    may read and write the same file at once.

    Args:
        cache: Folder of the cache.
        key: Identifies the table, for instance by the resolved data root; the file is named by its hash.
        state: Digest of its sources' states; a file with another one is replaced.
        read: Reads the table.
    """
    path = Path(cache) / f"{content_digest([key.encode()])[:16]}.table"
    state = f"{_VERSION} {state}"
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
        write_bytes(path, _checksum(content) + content)
    except StorageError as error:
        rank_zero_warn(f"the annotations are read anew by every run, since their cache cannot be kept: {error}")
    return frame


def _load(path: Path, state: str) -> pa.Table | None:
    """Return the cached table if it is intact and has the given state."""
    try:
        content = read_regular(path)
        if _checksum(content[_DIGEST_BYTES:]) != content[:_DIGEST_BYTES]:
            raise InvalidFileError(f"{path}: damaged: its content does not have its checksum")
        table = pq.read_table(pa.BufferReader(content[_DIGEST_BYTES:]))
    except MissingFileError:
        return None
    except (InvalidFileError, pa.ArrowException, OSError, ValueError) as error:
        print(f"{error}; reading the annotations again")
        return None
    return table if (table.schema.metadata or {}).get(_KEY) == state.encode() else None


def _checksum(content: bytes) -> bytes:
    return bytes.fromhex(content_digest([content]))
