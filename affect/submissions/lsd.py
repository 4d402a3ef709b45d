"""The submission file of the learning-from-synthetic-data challenge (ABAW-4, Kollias 2022, arXiv 2207.01138).

A header `image,expression`, then a line per image of the official test list, in its order: name and label, 0 to 5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import SYNTHETIC_EXPRESSIONS
from affect.storage.atomic_write import write_text
from affect.submissions.lines import SubmissionError, validate_lines

HEADER: Final = "image,expression"


def write_lsd_submission(path: str | Path, names: Sequence[str], scores: np.ndarray) -> None:
    """Write the class of the largest score for every image, then validate the file.

    Args:
        path: Where to.
        names: Images of the test list, in its order.
        scores: One score per image and class (larger means likelier), shape (N, 6).

    Raises:
        SubmissionError: If there is not one row of finite scores per image.
    """
    if scores.shape != (len(names), len(SYNTHETIC_EXPRESSIONS)):
        raise SubmissionError(
            f"scores have shape {scores.shape}, expected ({len(names)}, {len(SYNTHETIC_EXPRESSIONS)})"
        )
    if not np.isfinite(scores).all():
        first = names[int(np.flatnonzero(~np.isfinite(scores).all(1))[0])]
        raise SubmissionError(f"the scores hold NaN or infinity, first for {first}")
    lines = [f"{name},{label}" for name, label in zip(names, scores.argmax(1), strict=True)]
    write_text(path, "\n".join([HEADER, *lines]) + "\n")
    validate_lsd_submission(path, names)


def validate_lsd_submission(path: str | Path, names: Sequence[str]) -> None:
    """Check a submission file against the test list.

    Args:
        path: The file.
        names: Images of the test list, in its order.

    Raises:
        MissingFileError: If there is no such file.
        SubmissionError: If anything differs from the official form; lines and reasons are in the message.
    """
    validate_lines(path, HEADER, names, _mistake)


def _mistake(line: str, name: str) -> str | None:
    """Say what is wrong with a line, if anything."""
    fields = line.split(",")
    if len(fields) != 2:
        return f"expected an image and a label, got {len(fields)} fields: {line!r}"
    if fields[0] != name:
        return f"expected image {name!r} here, as in the test list, got {fields[0]!r}"
    if fields[1] not in _LABELS:
        return f"the label must be one of {', '.join(_LABELS)}, not {fields[1]!r}"
    return None


_LABELS: Final = tuple(str(label) for label in range(len(SYNTHETIC_EXPRESSIONS)))
