"""Expressions as combinations of action units, and the valence and arousal that go with them.

Prototypes: EMFACS (Friesen & Ekman 1983, EMFACS-7: Emotional Facial Action Coding System) and Ekman & Friesen (1978),
Facial Action Coding System, table of predicted emotions. Places on the circumplex: Russell (1980), A circumplex
model of affect, doi:10.1037/h0077714.
"""

from typing import Final, NamedTuple

import numpy as np

from demo_data.action_units import RENDERED_UNITS, UNIT_INDEX

Units = dict[str, tuple[float, float]]
"""By unit, the probability that it is active and its mean intensity if so."""

PROTOTYPES: Final[dict[str, tuple[Units, ...]]] = {
    "Neutral": ({},),
    "Happiness": (
        {"AU6": (0.9, 0.75), "AU12": (1, 0.85), "AU25": (0.6, 0.7), "AU26": (0.2, 0.5), "AU7": (0.2, 0.4)},
        {"AU6": (0.5, 0.5), "AU12": (1, 0.75)},
    ),
    "Sadness": (
        {"AU1": (1, 0.85), "AU4": (0.8, 0.6), "AU15": (0.95, 0.8), "AU17": (0.4, 0.6), "AU43": (0.35, 0.35)},
        {"AU1": (0.9, 0.8), "AU4": (0.5, 0.5), "AU15": (1, 0.75), "AU25": (0.2, 0.4), "AU43": (0.3, 0.4)},
    ),
    "Surprise": (
        {"AU1": (1, 0.85), "AU2": (1, 0.85), "AU5": (0.9, 0.8), "AU25": (1, 0.75), "AU26": (0.95, 0.8)},
        {"AU1": (1, 0.8), "AU2": (1, 0.85), "AU5": (0.8, 0.7), "AU26": (0.6, 0.45), "AU25": (0.6, 0.5)},
    ),
    "Fear": (
        {
            "AU1": (1, 0.85), "AU2": (0.8, 0.6), "AU4": (0.95, 0.75), "AU5": (1, 0.85), "AU20": (0.95, 0.8),
            "AU25": (0.85, 0.65), "AU26": (0.3, 0.35), "AU7": (0.1, 0.3),
        },
        {"AU1": (1, 0.8), "AU4": (0.9, 0.7), "AU5": (1, 0.8), "AU20": (0.9, 0.7), "AU25": (0.7, 0.5)},
    ),
    "Disgust": (
        {"AU9": (1, 0.85), "AU4": (0.4, 0.4), "AU10": (0.5, 0.5), "AU7": (0.4, 0.4), "AU17": (0.4, 0.6)},
        {"AU10": (1, 0.85), "AU9": (0.5, 0.5), "AU25": (0.5, 0.5), "AU15": (0.3, 0.4), "AU7": (0.3, 0.4)},
    ),
    "Anger": (
        {"AU4": (1, 0.9), "AU5": (0.6, 0.6), "AU7": (0.8, 0.6), "AU23": (0.8, 0.75), "AU24": (0.6, 0.7)},
        {"AU4": (1, 0.9), "AU5": (0.7, 0.6), "AU7": (0.7, 0.5), "AU23": (0.5, 0.5), "AU25": (0.9, 0.8),
         "AU26": (0.6, 0.5), "AU10": (0.3, 0.35)},
    ),
    "Contempt": (
        {"AU14": (1, 0.85), "AU12": (0.8, 0.6)},
    ),
    # Faces with an expression that is none of the above.
    "Other": (
        {"AU18": (1, 0.85), "AU2": (0.3, 0.5)},
        {"AU43": (1, 0.95), "AU25": (0.7, 0.7), "AU26": (0.8, 0.85)},
        {"AU1": (1, 0.7), "AU2": (1, 0.8), "AU15": (0.8, 0.6), "AU17": (1, 0.8)},
        {"AU14": (1, 0.8), "AU24": (1, 0.8), "AU7": (0.4, 0.5)},
        {"AU18": (0.8, 0.7), "AU4": (0.9, 0.6), "AU43": (0.5, 0.4)},
    ),
}  # fmt: skip

CIRCUMPLEX: Final = {
    "Neutral": (0.0, 0.0), "Happiness": (0.75, 0.25), "Sadness": (-0.68, -0.35), "Surprise": (0.15, 0.70),
    "Fear": (-0.50, 0.75), "Disgust": (-0.68, 0.35), "Anger": (-0.55, 0.65), "Contempt": (-0.45, 0.20),
    "Other": (0.0, -0.10),
}  # fmt: skip
"""Valence and arousal of each expression at full strength."""

_VALENCE_OF_UNITS: Final = {
    "AU12": 0.20,
    "AU6": 0.08,
    "AU4": -0.10,
    "AU15": -0.12,
    "AU9": -0.08,
    "AU10": -0.06,
}
_AROUSAL_OF_UNITS: Final = {"AU5": 0.18, "AU26": 0.16, "AU25": 0.08, "AU7": 0.04, "AU43": -0.35}
_ANNOTATION_NOISE: Final = 0.05


class Expressed(NamedTuple):
    """An expression on a face: `action_units` (2, 19) in [0, 1]; `valence_arousal` (2,) in [-1, 1], before noise."""

    action_units: np.ndarray
    valence_arousal: np.ndarray


def prototype(expression: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one of an expression's unit combinations at full strength, shape (2, 19).

    Contempt shows on one side of the face only.

    Raises:
        KeyError: If the expression is not in `PROTOTYPES`.
    """
    variants = PROTOTYPES[expression]
    units = variants[rng.integers(len(variants))]
    active = np.zeros((2, len(RENDERED_UNITS)))
    for name, (share, mean) in units.items():
        if rng.random() < share:
            active[:, UNIT_INDEX[name]] = np.clip(rng.normal(mean, 0.14), 0.15, 1)
    active *= rng.uniform(0.85, 1.15, (2, 1))
    if expression == "Contempt":
        active[rng.integers(2)] *= 0.08
    return np.clip(active, 0, 1)


def nuisance(rng: np.random.Generator, strength: float = 0.30) -> np.ndarray:
    """Draw weak units that any face may show, whatever its expression, shape (2, 19)."""
    count = len(RENDERED_UNITS)
    active = np.where(rng.random(count) < 0.12, rng.uniform(0, strength, count), 0.0)
    if rng.random() < 0.04:
        active[UNIT_INDEX["AU43"]] = rng.uniform(0.4, 1.0)  # a blink
    return np.repeat(active[None], 2, axis=0)


def valence_arousal(expression: str, strength: float, active: np.ndarray) -> np.ndarray:
    """Place a face on the circumplex by its expression, strength and the units it shows.

    Args:
        expression: A key of `CIRCUMPLEX`.
        strength: In [0, 1].
        active: Shown units, shape (2, 19).

    Returns:
        Valence and arousal in [-1, 1], shape (2,).
    """
    shown = active.mean(axis=0)
    valence, arousal = (strength * value for value in CIRCUMPLEX[expression])
    valence += sum(weight * shown[UNIT_INDEX[name]] for name, weight in _VALENCE_OF_UNITS.items())
    arousal += sum(weight * shown[UNIT_INDEX[name]] for name, weight in _AROUSAL_OF_UNITS.items())
    return np.clip([valence, arousal], -1.0, 1.0)


def express(expression: str, rng: np.random.Generator) -> Expressed:
    """Draw a face's units for an expression of random strength, with weak units beside it."""
    strength = 0.35 + 0.65 * rng.beta(2.2, 1.3)
    active = np.clip(np.maximum(strength * prototype(expression, rng), nuisance(rng)), 0, 1)
    return Expressed(active, valence_arousal(expression, strength, active))


def annotate(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add an annotator's noise to valence and arousal, shape (2,), in [-1, 1]."""
    return np.clip(values + rng.normal(0, _ANNOTATION_NOISE, values.shape), -1.0, 1.0)
