"""What the challenges' submission files have in common: every mistake is collected and named with its line."""

from collections.abc import Sequence
from pathlib import Path


class SubmissionError(ValueError):
    """A submission cannot be written or is not as the challenge wants it; the message names lines and reasons."""


def raise_for_mistakes(path: str | Path, mistakes: Sequence[tuple[int, str]], shown: int = 20) -> None:
    """Raise one error for all mistakes of a submission file.

    Args:
        path: The file.
        mistakes: 1-based line numbers and reasons.
        shown: How many of them the message lists.

    Raises:
        SubmissionError: If there is any mistake.
    """
    if mistakes:
        lines = [f"{path}:{line}: {reason}" for line, reason in sorted(mistakes)[:shown]]
        more = [f"... and {len(mistakes) - shown} more"] if len(mistakes) > shown else []
        raise SubmissionError("\n".join([f"{len(mistakes)} mistakes in the submission", *lines, *more]))
