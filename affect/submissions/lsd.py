"""The submission file of the learning-from-synthetic-data challenge (ABAW-4, Kollias 2022, arXiv 2207.01138).

A header `image,expression`, then a line per image of the official test list, in its order: name and label, 0 to 5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import SYNTHETIC_EXPRESSIONS
from affect.storage.atomic_write import write_text
from affect.submissions.lines import check_predictions, validate_lines

HEADER: Final = "image,expression"
_LABELS: Final = tuple(str(label) for label in range(len(SYNTHETIC_EXPRESSIONS)))


def write_lsd_submission(path: str | Path, names: Sequence[str], scores: np.ndarray) -> None:
    """Write the class with the largest score of every image, then validate the file.

    Args:
        path: File to write.
        names: Images of the test list, in order, N of them.
        scores: One score per image and class (larger means more likely), shape (N, 6).

    Raises:
        SubmissionError: If there is not one row of finite scores per image.
    """
    check_predictions("scores", scores, names, len(SYNTHETIC_EXPRESSIONS))
    lines = [f"{name},{label}" for name, label in zip(names, scores.argmax(1), strict=True)]
    write_text(path, "\n".join([HEADER, *lines]) + "\n")
    validate_lsd_submission(path, names)


def validate_lsd_submission(path: str | Path, names: Sequence[str]) -> None:
    """Check a submission file against the images of the test list; raises as `validate_lines` does."""
    validate_lines(path, HEADER, names, 2, _find_mistake)


def _find_mistake(fields: list[str]) -> str | None:
    if fields[0] not in _LABELS:
        return f"the label must be one of {', '.join(_LABELS)}, not {fields[0]!r}"
    return None
