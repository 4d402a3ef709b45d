"""Fingerprints of files and tables: SHA-256 in hexadecimal.

Which one to use:

- `file_digest`, the bytes of one file: records which file a result was made from (a backbone, weights, a list).
- `arrays_digest`, the content of tables: records what a run was trained on (`data_fingerprint` in its provenance).
- `sizes_digest`, names and sizes of files: the same for every copy; records images, which take too long to read.
- `states_digest` and `frame_states_digest`, names, sizes and modification times: notices within seconds that the files
  behind a cache have changed. A copy has another one, so it does not identify a result.
- `content_digest`, bytes in memory.
- `git_digest`, the bytes of one file as git names them: checks a file against another project's repository.

Stores, manifests and run folders record these values: changing how one is computed invalidates what exists.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from numpy.typing import NDArray


def content_digest(parts: Iterable[bytes]) -> str:
    """Return the digest of bytes in memory, given in parts whose boundaries do not matter."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the digest of a file's content.

    Raises:
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_digest(path: str | Path) -> str:
    """Return the name that git gives to a file's content: the SHA-1 of `blob`, its size and the content.

    Raises:
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        header = f"blob {os.fstat(file.fileno()).st_size}\0".encode()
        return hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False)).hexdigest()


def arrays_digest(tables: Mapping[str, Mapping[str, NDArray | None]]) -> str:
    """Return the digest of the content of tables: names, types, shapes and values of their columns.

    Args:
        tables: Columns by name, in order, by name of the table (in any order); a column that is None is passed over.
    """
    return content_digest(
        part
        for table, columns in sorted(tables.items())
        for name, column in columns.items()
        if column is not None
        for part in (f"{table} {name} {column.dtype} {column.shape}".encode(), column.tobytes())
    )


def sizes_digest(root: str | Path, paths: Sequence[str]) -> str:
    """Return the digest of the names and sizes of files, without reading them.

    Args:
        root: Folder that the paths are relative to.
        paths: Paths of files, in any order; a file that does not exist has no size.
    """
    sizes: list[tuple[str, int | None]] = []
    for path in sorted(set(paths)):
        try:
            sizes.append((path, Path(root, path).stat().st_size))
        except OSError:
            sizes.append((path, None))
    return content_digest(os.fsencode(path) + f"\0{size}\0".encode() for path, size in sizes)


def states_digest(states: Iterable[tuple[str, int, int]]) -> str:
    """Return the digest of files' states, as manifests of upscaled trees record it.

    Args:
        states: Name, size in bytes and modification time in nanoseconds of each file; their order matters.
    """
    return content_digest(os.fsencode(name) + f"\0{size}\0{modified}\0".encode() for name, size, modified in states)


def frame_states_digest(states: Iterable[tuple[str, tuple[int, int] | None]]) -> str:
    """Return the digest of frames' states, as feature stores record it.

    Args:
        states: Name of each frame, with size in bytes and modification time in nanoseconds, or None without a file;
            their order matters.
    """
    return content_digest(f"{name} {state}\n".encode() for name, state in states)


def source_states(sources: Iterable[Path], root: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the states of files and of the files directly in folders, for `states_digest`; hidden ones are skipped.

    Each source is listed by itself first, with the size and time -1, so that its name counts even if it has no file.

    Args:
        sources: Files and folders; one that does not exist has no files.
        root: What their names are relative to.
    """
    for source in sources:
        name = os.path.relpath(source, root)
        yield name, -1, -1
        if source.is_dir():
            with os.scandir(source) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
            for entry in sorted(visible, key=lambda entry: entry.name):
                yield f"{name}/{entry.name}", *_size_and_time(entry)
        elif source.exists():
            yield name, *_size_and_time(source)


def _size_and_time(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Return size and modification time of what a path links to, or of the link itself if its target is missing."""
    try:
        status = path.stat()
    except OSError:
        status = path.stat(follow_symlinks=False)
    return status.st_size, status.st_mtime_ns
