"""The submission file of the multi-task challenge (ABAW-4, Kollias 2022, arXiv 2207.01138).

A header `image,valence,arousal,expression,aus`, then a line per row of the official test list, in its order and with
its duplicates: image, valence, arousal, expression code, twelve action units as 0 or 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.storage.atomic_write import write_text
from affect.submissions.lines import SubmissionError, validate_lines

HEADER: Final = "image,valence,arousal,expression,aus"
NUM_FIELDS: Final = 4 + len(ACTION_UNITS)


def write_mtl_submission(
    path: str | Path,
    names: Sequence[str],
    valence_arousal: np.ndarray,
    expression: np.ndarray,
    action_units: np.ndarray,
) -> None:
    """Write the predictions of every row of the test list, then validate the file.

    Args:
        path: Where to.
        names: Images of the test list, in its order, duplicates included.
        valence_arousal: Values, clipped to [-1, 1], shape (N, 2).
        expression: Scores; the code of the largest is written, shape (N, 8).
        action_units: Decisions, 0 or 1, shape (N, 12).

    Raises:
        SubmissionError: If a shape is wrong, or a value is not finite or no decision.
    """
    shapes = {
        "valence_arousal": (valence_arousal, 2),
        "expression": (expression, len(AFFWILD2_EXPRESSIONS)),
        "action_units": (action_units, len(ACTION_UNITS)),
    }
    for task, (values, width) in shapes.items():
        if values.shape != (len(names), width):
            raise SubmissionError(f"{task} has shape {values.shape}, expected {(len(names), width)}")
        if not np.isfinite(values).all():
            first = names[int(np.flatnonzero(~np.isfinite(values).all(1))[0])]
            raise SubmissionError(f"{task} holds NaN or infinity, first for {first}")
    if not np.isin(action_units, (0, 1)).all():
        raise SubmissionError("action units must be decided, 0 or 1, before they are written")
    values = np.clip(valence_arousal, -1, 1)
    lines = [
        f"{name},{valence:.4f},{arousal:.4f},{code},{','.join(map(str, units))}"
        for name, (valence, arousal), code, units in zip(
            names,
            values.tolist(),
            expression.argmax(1).tolist(),
            action_units.astype(int).tolist(),
            strict=True,
        )
    ]
    write_text(path, "\n".join([HEADER, *lines]) + "\n")
    validate_mtl_submission(path, names)


def validate_mtl_submission(path: str | Path, names: Sequence[str]) -> None:
    """Check a submission file against the test list.

    Args:
        path: The file.
        names: Images of the test list, in its order, duplicates included.

    Raises:
        MissingFileError: If there is no such file.
        SubmissionError: If anything differs from the official form; lines and reasons are in the message.
    """
    validate_lines(path, HEADER, names, _mistake)


def _mistake(line: str, name: str) -> str | None:
    """Say what is wrong with a line, if anything."""
    fields = line.split(",")
    if len(fields) != NUM_FIELDS:
        return f"expected {NUM_FIELDS} values, got {len(fields)}"
    if fields[0] != name:
        return f"expected image {name!r} here, as in the test list, got {fields[0]!r}"
    for label, text in zip(("valence", "arousal"), fields[1:3], strict=True):
        if not _is_value(text):
            return f"{label} must be a number from -1 to 1, not {text!r}"
    if fields[3] not in _CODES:
        return f"expression must be one of {', '.join(_CODES)}, not {fields[3]!r}"
    for unit, text in zip(ACTION_UNITS, fields[4:], strict=True):
        if text not in ("0", "1"):
            return f"{unit} must be 0 or 1, not {text!r}"
    return None


def _is_value(text: str) -> bool:
    try:
        return text == text.strip() and "_" not in text and abs(float(text)) <= 1  # false for NaN too
    except ValueError:
        return False


_CODES: Final = tuple(str(code) for code in range(len(AFFWILD2_EXPRESSIONS)))
