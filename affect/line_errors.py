"""One message for all that is wrong with a file of lines."""

from collections.abc import Sequence
from pathlib import Path


def list_problems(path: str | Path, problems: Sequence[tuple[int, str]], title: str, shown: int = 20) -> str:
    """List what is wrong, a line each, under a title with their number.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        title: What they are, in the plural.
        shown: How many of them are listed.
    """
    lines = [f"{path}:{line}: {reason}" for line, reason in sorted(problems)[:shown]]
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    return "\n".join([f"{len(problems)} {title}", *lines, *more])
