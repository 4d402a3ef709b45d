"""Label orders of every set, and the maps between them: the only place where a class is a bare integer.

Sources: AffectNet (Mollahosseini et al. 2017, arXiv 1708.03985), the ABAW-4 challenge (Kollias 2022,
arXiv 2207.01138) and the HSE-NN system (Savchenko 2022, arXiv 2207.09508).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

MISSING_EXPRESSION: Final = -1
"""The batch contract's value for an unlabelled expression; a missing float is NaN."""

AFFECTNET_CODES: Final = (
    "Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt",
    "None", "Uncertain", "No-Face",
)  # fmt: skip
"""Raw codes of AffectNet's csv and npy annotations; the last three carry no expression."""

BACKBONE_EXPRESSIONS: Final = (
    "Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise",
)  # fmt: skip
"""Order of the backbone's expression logits (alphabetical)."""

AFFWILD2_EXPRESSIONS: Final = (
    "Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other",
)  # fmt: skip
"""Expression codes of s-Aff-Wild2."""

SYNTHETIC_EXPRESSIONS: Final = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
"""Labels 0 to 5 of the synthetic set."""

SYNTHETIC_FOLDERS: Final = ("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")
"""Folder of each synthetic label; the misspelling is the official one."""

ACTION_UNITS: Final = (
    "AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26",
)  # fmt: skip
"""Order of the twelve action units of s-Aff-Wild2."""

VALENCE_AROUSAL: Final = ("Valence", "Arousal")


def index_map(source: Sequence[str], target: Sequence[str], missing: int | None = None) -> np.ndarray:
    """Return, for each position of one label order, the position of the same name in another.

    Args:
        source: Names in the order to translate from.
        target: Names in the order to translate to.
        missing: Value for names that `target` lacks; by default such a name is an error.

    Returns:
        Indices into `target`, shape (len(source),), int64.

    Raises:
        ValueError: If a name is not in `target` and `missing` is not given.
    """
    positions = {name: position for position, name in enumerate(target)}
    absent = [name for name in source if name not in positions]
    if absent and missing is None:
        raise ValueError(f"labels {absent} are not among {list(target)}")
    fallback = MISSING_EXPRESSION if missing is None else missing
    return np.array([positions.get(name, fallback) for name in source], dtype=np.int64)


AFFECTNET_TO_BACKBONE: Final = index_map(AFFECTNET_CODES, BACKBONE_EXPRESSIONS, missing=MISSING_EXPRESSION)
"""Backbone label of each AffectNet code; -1 for None, Uncertain and No-Face."""
