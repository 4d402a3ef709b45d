"""Errors about annotation files."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from affect.errors import UserError
from affect.storage.text_file import Fault, raise_or_collect


class AnnotationError(UserError):
    """Annotations are missing or malformed; the message names files, lines and remedies."""


def raise_for_problems(
    path: str | Path, problems: Sequence[tuple[int, str]], faults: list[Fault] | None = None
) -> None:
    """Raise one error for all malformed lines of a file, or collect them.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        faults: List to which they are added, instead of an error.

    Raises:
        AnnotationError: If there is any problem and no list.
    """
    raise_or_collect(path, problems, AnnotationError, faults)


def leaves_root(name: str) -> bool:
    """Return whether a relative path from an annotation file leaves the folder it is relative to."""
    if name[:1].isalnum() and name[1:2] != ":" and ".." not in name:
        return False  # fast path for nearly all names
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")


def some_of(names: Iterable[object], shown: int = 3) -> str:
    """Return the first names as text for a message."""
    return ", ".join(map(str, list(names)[:shown]))
