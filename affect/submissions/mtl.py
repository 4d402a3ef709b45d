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
from affect.submissions.lines import SubmissionError, check_predictions, validate_lines

HEADER: Final = "image,valence,arousal,expression,aus"
NUM_FIELDS: Final = 4 + len(ACTION_UNITS)
_CODES: Final = tuple(str(code) for code in range(len(AFFWILD2_EXPRESSIONS)))


def write_mtl_submission(
    path: str | Path,
    names: Sequence[str],
    valence_arousal: np.ndarray,
    expression: np.ndarray,
    action_units: np.ndarray,
) -> None:
    """Write the predictions for every row of the test list, then validate the file.

    Args:
        path: File to write.
        names: Images of the test list, in order, including duplicates, N of them.
        valence_arousal: Values, clipped to [-1, 1], shape (N, 2).
        expression: Scores, shape (N, 8); the code of the largest is written.
        action_units: Decisions, 0 or 1, shape (N, 12).

    Raises:
        SubmissionError: If a shape is wrong, a value is not finite, or an action unit is neither 0 nor 1.
    """
    check_predictions("valence_arousal", valence_arousal, names, 2)
    check_predictions("expression", expression, names, len(AFFWILD2_EXPRESSIONS))
    check_predictions("action_units", action_units, names, len(ACTION_UNITS))
    if not np.isin(action_units, (0, 1)).all():
        raise SubmissionError("action_units: values other than 0 and 1; apply the thresholds first")
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
    """Check a submission file against the images of the test list; raises as `validate_lines` does."""
    validate_lines(path, HEADER, names, NUM_FIELDS, _find_mistake)


def _find_mistake(fields: list[str]) -> str | None:
    for label, text in zip(("valence", "arousal"), fields[:2], strict=True):
        if not _is_value(text):
            return f"{label} must be a number from -1 to 1, not {text!r}"
    if fields[2] not in _CODES:
        return f"expression must be one of {', '.join(_CODES)}, not {fields[2]!r}"
    for unit, text in zip(ACTION_UNITS, fields[3:], strict=True):
        if text not in ("0", "1"):
            return f"{unit} must be 0 or 1, not {text!r}"
    return None


def _is_value(text: str) -> bool:
    try:
        return text == text.strip() and "_" not in text and abs(float(text)) <= 1  # false for NaN too
    except ValueError:
        return False
