"""Faces with their predictions: as arrays for a picture, and one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Predictions = Mapping[str, NDArray[np.float32]]
"""By task, a row per face: `expression` and `action_units` probabilities, `valence_arousal` and other values."""


@dataclass(frozen=True)
class Faces:
    """The N faces of a picture, before anything is smoothed or decided.

    Attributes:
        boxes: As detected: left, top, right and bottom in pixels, shape (N, 4).
        confidence: Of the detection, in [0, 1], shape (N,).
        crops: What the network saw: left, top, width and height in pixels, shape (N, 4), int32.
        features: Of the backbone, shape (N, D).
        predictions: By task.
    """

    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    crops: NDArray[np.int32]
    features: NDArray[np.float32] = field(repr=False)
    predictions: Predictions

    def __len__(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True)
class Face:
    """One face.

    Attributes:
        box: Left, top, width and height of what the network saw, in pixels of the upright picture.
        confidence: Of the detection, in [0, 1].
        expression: The most probable expression; None if the network has none.
        probabilities: Of the expressions by name.
        values: Other outputs by name, such as Valence and Arousal; about -1 to 1, as the network gives them.
        action_units: Probabilities by name; empty without heads of stage 2.
        active_units: Names of the units whose probability reaches their threshold.
    """

    box: tuple[int, int, int, int]
    confidence: float
    expression: str | None
    probabilities: Mapping[str, float]
    values: Mapping[str, float]
    action_units: Mapping[str, float]
    active_units: tuple[str, ...]

    @property
    def valence(self) -> float | None:
        """How pleasant, about -1 to 1; None if the network does not tell."""
        return self.values.get("Valence")

    @property
    def arousal(self) -> float | None:
        """How excited, about -1 to 1; None if the network does not tell."""
        return self.values.get("Arousal")
