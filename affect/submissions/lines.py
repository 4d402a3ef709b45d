"""Submission files of the challenges: a header, then one line of fields per image of the test list."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from affect.errors import MissingFileError, UserError
from affect.storage.text_file import list_problems, read_text


class SubmissionError(UserError):
    """A submission cannot be written or is not in the official form; the message contains lines and reasons."""


def check_predictions(name: str, values: np.ndarray, images: Sequence[str], width: int) -> None:
    """Check that predictions, which the message names, have a row of `width` finite values per image.

    Raises:
        SubmissionError: If the shape differs, or a value is NaN or infinite.
    """
    if values.shape != (len(images), width):
        raise SubmissionError(f"{name}: shape {values.shape}, expected {(len(images), width)}")
    if not np.isfinite(values).all():
        first = images[int(np.flatnonzero(~np.isfinite(values).all(1))[0])]
        raise SubmissionError(f"{name}: NaN or infinity, first for {first}")


def validate_lines(
    path: str | Path,
    header: str,
    names: Sequence[str],
    num_fields: int,
    find_mistake: Callable[[list[str]], str | None],
) -> None:
    """Check a submission file and report all mistakes with their lines.

    Args:
        path: The file.
        header: The expected first line.
        names: Images of the test list, in order, including duplicates.
        num_fields: Number of fields in a line, of which the first is the image.
        find_mistake: Returns what is wrong with the fields after the image; None if nothing is.

    Raises:
        MissingFileError: If there is no such file.
        SubmissionError: If it is not a regular file of UTF-8 text, or differs from the official form.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no submission file at {path}")
    lines = read_text(path, SubmissionError, exact=True).split("\n")
    mistakes: list[tuple[int, str]] = []
    if lines[-1] == "":
        lines.pop()
    else:
        mistakes.append((len(lines), "the last line has no line end; the file may be truncated"))
    if not lines or lines[0] != header:
        mistakes.append((1, f"the header must be {header!r}, not {lines[0] if lines else ''!r}"))
    if len(lines) - 1 != len(names):
        mistakes.append((len(lines), f"{len(lines) - 1} rows, but the test list has {len(names)}"))
    for number, (line, name) in enumerate(zip(lines[1:], names, strict=False), start=2):
        fields = line.split(",")
        if line != line.strip():
            mistakes.append((number, f"spaces or a carriage return around {line.strip()!r}"))
        elif len(fields) != num_fields:
            mistakes.append((number, f"expected {num_fields} fields, got {len(fields)}: {line!r}"))
        elif fields[0] != name:
            mistakes.append((number, f"expected image {name!r}, as in the test list, got {fields[0]!r}"))
        elif reason := find_mistake(fields[1:]):
            mistakes.append((number, reason))
    if mistakes:
        raise SubmissionError(list_problems(path, mistakes, "faulty line"))
