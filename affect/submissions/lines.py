"""What the challenges' submission files have in common: a header, then a line per image of the test list."""

from collections.abc import Callable, Sequence
from pathlib import Path

from affect.errors import MissingFileError, UserError
from affect.storage.text_file import list_problems, read_text


class SubmissionError(UserError):
    """A submission cannot be written or is not as the challenge wants it; the message names lines and reasons."""


def validate_lines(
    path: str | Path, header: str, names: Sequence[str], mistake_in: Callable[[str, str], str | None]
) -> None:
    """Check a submission file: every mistake is collected and named with its line.

    Args:
        path: The file.
        header: Its first line.
        names: Images of the test list, in its order, duplicates included.
        mistake_in: Says what is wrong with a line, given the image that it should be of; None if nothing is.

    Raises:
        MissingFileError: If there is no such file.
        SubmissionError: If it is no regular file of UTF-8 text, or anything differs from the official form.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no submission file at {path}")
    lines = read_text(path, SubmissionError, exact=True).split("\n")
    mistakes: list[tuple[int, str]] = []
    if lines[-1] == "":
        lines.pop()
    else:
        mistakes.append((len(lines), "the last line has no end: the file may be truncated"))
    if not lines or lines[0] != header:
        mistakes.append((1, f"the header must be {header!r}, not {lines[0] if lines else ''!r}"))
    if len(lines) - 1 != len(names):
        mistakes.append((len(lines), f"{len(lines) - 1} rows, but the test list has {len(names)}"))
    for number, (line, name) in enumerate(zip(lines[1:], names, strict=False), start=2):
        if line != line.strip():
            mistakes.append((number, f"spaces or a carriage return around {line.strip()!r}"))
        elif reason := mistake_in(line, name):
            mistakes.append((number, reason))
    if mistakes:
        raise SubmissionError(list_problems(path, mistakes, "faulty line"))
