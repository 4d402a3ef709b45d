"""Movement of a face in a video: expressions rise, hold and fall, the head drifts, eyes blink, the mouth talks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from demo_data.action_units import RENDERED_UNITS, UNIT_INDEX
from demo_data.expressions import prototype, valence_arousal

FRAMES_PER_SECOND: Final = 30
_SHOWN: Final = 0.30  # an annotator sees a unit, or an expression, from this intensity on


@dataclass(frozen=True)
class Track:
    """The kept frames of a video; N of them.

    Attributes:
        frame: Number of each frame in the whole video, from 1, rising with gaps, shape (N,).
        episode: Index of the episode that each frame belongs to, shape (N,).
        action_units: What the face does, shape (N, 2, 19), in [0, 1].
        angles: Yaw, pitch and roll in degrees, shape (N, 3).
        gaze: Shift of the irises in face units, shape (N, 2).
        expression: The annotator's expression name of each frame.
        shown_units: Units that the annotator considers active, shape (N, 19), bool.
        valence_arousal: The annotator's values in [-1, 1], shape (N, 2).
    """

    frame: np.ndarray
    episode: np.ndarray
    action_units: np.ndarray
    angles: np.ndarray
    gaze: np.ndarray
    expression: list[str]
    shown_units: np.ndarray
    valence_arousal: np.ndarray


def drift(rng: np.random.Generator, length: int, seconds: float, columns: int = 1) -> np.ndarray:
    """Draw an Ornstein-Uhlenbeck process of mean 0 and standard deviation 1, shape (length, columns).

    It takes one step per frame; its autocorrelation decays within `seconds`.
    """
    keep = float(np.exp(-1 / (seconds * FRAMES_PER_SECOND)))
    steps = rng.standard_normal((length, columns)) * np.sqrt(1 - keep**2)
    value = rng.standard_normal(columns)
    path = np.empty((length, columns))
    for index in range(length):
        value = keep * value + steps[index]
        path[index] = value
    return path


def envelope(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw a smooth rise, hold and fall between 0 and 1, shape (length,)."""
    rise, fall = rng.uniform(0.10, 0.28, 2)
    place = np.linspace(0, 1, length)
    ramp = np.clip(np.minimum(place / rise, (1 - place) / fall), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def kept_frames(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw the numbers of the frames that a subsampled set keeps: a few frames apart, occasionally with a long gap."""
    steps = rng.integers(4, 17, count)
    steps += np.where(rng.random(count) < 0.03, rng.integers(40, 160, count), 0)
    steps[0] = rng.integers(1, 12)
    return np.cumsum(steps)


def film(rng: np.random.Generator, expressions: Sequence[str], frames: int) -> Track:
    """Draw a video in which one expression follows another, with the face back at rest in between.

    Args:
        rng: Source of randomness.
        expressions: Expression of each episode, keys of `demo_data.expressions.PROTOTYPES`.
        frames: Number of frames to keep.
    """
    frame = kept_frames(rng, frames)
    length = int(frame[-1]) + 1
    cuts = np.sort(rng.uniform(-0.25, 0.25, len(expressions) - 1) + np.arange(1, len(expressions)))
    bounds = np.round(np.concatenate([[0], cuts, [len(expressions)]]) / len(expressions) * length).astype(int)

    mimic = np.zeros((length, 2, len(RENDERED_UNITS)))
    circumplex = np.zeros((length, 2))
    names = np.empty(length, dtype=object)
    episode = np.zeros(length, dtype=int)
    for index, name in enumerate(expressions):
        part = slice(int(bounds[index]), int(bounds[index + 1]))
        span = part.stop - part.start
        level = rng.uniform(0.6, 1.0) * envelope(rng, span) * (1 + 0.08 * drift(rng, span, 1.0)[:, 0])
        mimic[part] = level[:, None, None] * prototype(name, rng)
        circumplex[part] = [
            valence_arousal(name, value, units) for value, units in zip(level, mimic[part], strict=True)
        ]
        # The annotator's idea of onset and offset wavers.
        threshold = _SHOWN + 0.05 * drift(rng, span, 2.0)[:, 0]
        names[part] = np.where(level > threshold, name, "Neutral")
        episode[part] = index
    active = np.clip(np.maximum(mimic, _habits(rng, length)[:, None]), 0, 1)

    bias = _SHOWN + rng.normal(0, 0.03)
    shown = active.max(axis=1) > bias + 0.04 * drift(rng, length, 1.5, len(RENDERED_UNITS))
    noise = rng.normal(0, 0.04, 2) + 0.07 * drift(rng, length, 2.0, 2)
    angles = rng.normal(0, (9, 5, 1.5)) + drift(rng, length, 1.5, 3) * (9, 4.5, 1.5)
    gaze = drift(rng, length, 0.8, 2) * (0.03, 0.012)
    return Track(
        frame=frame,
        episode=episode[frame],
        action_units=active[frame],
        angles=np.clip(angles[frame], (-38, -18, -8), (38, 18, 8)),
        gaze=np.clip(gaze[frame], -0.08, 0.08),
        expression=[str(name) for name in names[frame]],
        shown_units=shown[frame],
        valence_arousal=np.clip(circumplex + noise, -1, 1)[frame],
    )


def _habits(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw what a face does beside expressing itself: passing units, speech, blinks; shape (length, 19)."""
    active = np.zeros((length, len(RENDERED_UNITS)))
    for _ in range(max(1, length // 140)):  # a unit comes and goes by itself
        start, span = int(rng.integers(length)), int(rng.integers(40, 160))
        part = slice(start, min(start + span, length))
        unit = int(rng.integers(UNIT_INDEX["AU26"] + 1))
        pulse = rng.uniform(0.3, 0.8) * envelope(rng, part.stop - part.start)
        active[part, unit] = np.maximum(active[part, unit], pulse)
    talking = rng.uniform(0.0, 0.7) * np.clip(0.5 + drift(rng, length, 3.0)[:, 0], 0, 1)
    syllables = np.clip(0.45 + 0.4 * drift(rng, length, 0.10, 2), 0, 1)
    active[:, UNIT_INDEX["AU25"]] = np.maximum(active[:, UNIT_INDEX["AU25"]], talking * syllables[:, 0])
    active[:, UNIT_INDEX["AU26"]] = np.maximum(active[:, UNIT_INDEX["AU26"]], talking * syllables[:, 1] * 0.6)
    for blink in np.flatnonzero(rng.random(length) < 1 / 100):
        active[blink : blink + 5, UNIT_INDEX["AU43"]] = 0.95
    return active
