"""One message for all that is wrong with a file of lines."""

from collections.abc import Sequence
from pathlib import Path


def list_problems(path: str | Path, problems: Sequence[tuple[int, str]], title: str, shown: int = 20) -> str:
    """List what is wrong, a line each, under a title with the number of lines concerned.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        title: What is counted: a word in the singular that takes an s, such as `malformed line`.
        shown: How many of them are listed.
    """
    lines = [f"{path}:{line}: {reason}" for line, reason in sorted(problems)[:shown]]
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    count = len({line for line, _ in problems})
    return "\n".join([f"{count} {title}{'s' if count > 1 else ''}", *lines, *more])
