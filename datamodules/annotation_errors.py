"""Collect what is wrong with an annotation file, and say it in one error."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath


class AnnotationError(Exception):
    """Annotations cannot be used; the message names files, lines and remedies."""


def raise_for_problems(path: str | Path, problems: Sequence[tuple[int, str]], shown: int = 20) -> None:
    """Raise one error for all malformed lines of a file.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        shown: How many of them the message lists.

    Raises:
        AnnotationError: If there is any problem.
    """
    if problems:
        lines = [f"{path}:{line}: {reason}" for line, reason in sorted(problems)[:shown]]
        more = f"\n... and {len(problems) - shown} more" if len(problems) > shown else ""
        raise AnnotationError(f"{len(problems)} malformed lines\n" + "\n".join(lines) + more)


def leaves_root(name: str) -> bool:
    """Tell whether a relative path, as an annotation file gives it, would leave the folder it is relative to."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")
