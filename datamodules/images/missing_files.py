"""Search for listed images without a file; each folder is listed once, which is faster than one stat per file."""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

NOT_REGULAR: Final = "not a regular file"


def missing_images(root: str | Path, paths: Sequence[str]) -> dict[str, str]:
    """Find the listed images that cannot be opened as files, without reading any.

    Returns:
        The reason by path, in the order of the list, whose paths may repeat.
    """
    reasons = {
        path: reason
        for folder, names in _by_folder(paths).items()
        for path, reason in _missing_in(Path(root, folder), folder, names)
    }
    return {path: reasons[path] for path in dict.fromkeys(paths) if path in reasons} if reasons else {}


def _by_folder(paths: Sequence[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders[folder].append(name)
    return folders


def _missing_in(folder: Path, prefix: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as entries:
            # A link is left to stat below, which reports why it is dead.
            present = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    except OSError:
        present = set()  # its files may be readable although it cannot be listed
    for name in names:
        if name not in present and (reason := _reason(folder / name)) is not None:
            yield (f"{prefix}/{name}" if prefix else name), reason


def _reason(path: Path) -> str | None:
    """Return why a path is not a file that can be opened; None if it is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(mode):
        return os.strerror(errno.EISDIR)
    return None if stat.S_ISREG(mode) else NOT_REGULAR
