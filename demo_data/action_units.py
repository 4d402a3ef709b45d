"""Movement of landmarks by action units, after the Facial Action Coding System.

Ekman & Friesen (1978), Facial Action Coding System; Ekman, Friesen & Hager (2002), FACS manual. A face's activation
is an array of shape (2, 19): intensity 0 to 1 of each unit of `RENDERED_UNITS` on the viewer's left and right side.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from affect.labels import ACTION_UNITS
from demo_data.renderer.landmarks import BROWS, EYES, JAW, MOUTH_INNER, MOUTH_OUTER, NOSE_BASE

NUISANCE_UNITS: Final = ("AU5", "AU9", "AU14", "AU17", "AU18", "AU20", "AU43")
"""Units without a label that expressions need: upper lid raiser, nose wrinkler, dimpler, chin raiser,
lip pucker, lip stretcher, eyes closed."""

RENDERED_UNITS: Final = ACTION_UNITS + NUISANCE_UNITS
UNIT_INDEX: Final = {name: index for index, name in enumerate(RENDERED_UNITS)}
SIDES: Final = (-1.0, 1.0)
"""Sign of x on the viewer's left and right."""

_OUTER_TO_INNER: Final = np.array([
    # AU1 up, AU2 up, AU4 down, AU4 inwards
    (-0.02, 0.14, 0.04, 0.01),
    (0.01, 0.17, 0.06, 0.02),
    (0.06, 0.14, 0.10, 0.04),
    (0.14, 0.05, 0.13, 0.06),
    (0.19, 0.00, 0.14, 0.08),
])  # fmt: skip


def activation(units: Mapping[str, float | tuple[float, float]]) -> np.ndarray:
    """Build an activation from names; unnamed units rest at 0.

    Args:
        units: Intensity in [0, 1] by name, one number for both sides or a pair (viewer's left, right).

    Returns:
        Shape (2, 19), float64.

    Raises:
        KeyError: If a name is not in `RENDERED_UNITS`.
    """
    active = np.zeros((2, len(RENDERED_UNITS)))
    for name, intensity in units.items():
        active[:, UNIT_INDEX[name]] = intensity
    return active


def by_name(intensities: np.ndarray) -> dict[str, float]:
    """Name the intensities of `RENDERED_UNITS`, shape (19,)."""
    return dict(zip(RENDERED_UNITS, intensities.tolist(), strict=True))


def deform(landmarks: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Move a neutral face's landmarks by its action units.

    Args:
        landmarks: Neutral landmarks, shape (68, 3), in units of half a face's width; y down, z to the viewer.
        active: Activation, shape (2, 19), in [0, 1].

    Returns:
        Moved landmarks, shape (68, 3); the input is not changed.
    """
    moved = landmarks.copy()
    for side in (0, 1):
        units = by_name(active[side])
        _move_brow(moved, units, side)
        _move_eye(moved, units, side)
        _move_nose(moved, units, side)
    _move_mouth(moved, active)
    return moved


def _move_brow(points: np.ndarray, units: dict[str, float], side: int) -> None:
    brow = BROWS[side]
    up1, up2, down4, inward4 = _OUTER_TO_INNER.T
    # Together with AU1 the corrugator draws the brows in but no longer down: the oblique brow of grief.
    pull = 1 - 0.75 * units["AU1"]
    lift = up1 * units["AU1"] + up2 * units["AU2"] - down4 * units["AU4"] * pull
    lift -= np.array([0.0, 0.0, 0.02, 0.05, 0.06]) * units["AU9"]
    points[brow, 1] -= lift
    points[brow, 0] -= SIDES[side] * inward4 * units["AU4"]


def _move_eye(points: np.ndarray, units: dict[str, float], side: int) -> None:
    outer, upper, inner, lower = EYES[side]
    middle = (points[outer, 1] + points[inner, 1]) / 2
    wide = 1 + 0.55 * units["AU5"]
    narrow = (1 - 0.16 * units["AU6"]) * (1 - 0.34 * units["AU7"]) * (1 - 0.10 * units["AU4"])
    raised = 0.50 * units["AU6"] + 0.62 * units["AU7"] + 0.25 * units["AU9"] + 0.12 * units["AU12"]
    top = (points[upper, 1] - middle) * wide * narrow
    bottom = (points[lower, 1] - middle) * (1 - min(raised, 1.15))
    top += (np.maximum(bottom, 0.02)[::-1] - top) * units["AU43"]
    points[upper, 1] = middle + np.minimum(top, bottom[::-1] - 0.012)
    points[lower, 1] = middle + bottom


def _move_nose(points: np.ndarray, units: dict[str, float], side: int) -> None:
    wing, half = NOSE_BASE[0 if side == 0 else 4], NOSE_BASE[1 if side == 0 else 3]
    flare = 0.035 * units["AU9"] + 0.02 * units["AU10"] + 0.015 * units["AU12"]
    rise = 0.06 * units["AU9"] + 0.035 * units["AU10"]
    points[wing] += (SIDES[side] * flare, -rise, 0.0)
    points[half] += (SIDES[side] * flare * 0.5, -rise * 0.5, 0.0)


def _move_mouth(points: np.ndarray, active: np.ndarray) -> None:
    """Shape lips and jaw: corners per side, width, thickness and gap from both sides together."""
    unit = by_name(active.mean(axis=0))
    lips = np.array(MOUTH_OUTER + MOUTH_INNER)
    upper = np.array(MOUTH_OUTER[1:6] + MOUTH_INNER[1:4])
    lower = np.array(MOUTH_OUTER[7:] + MOUTH_INNER[5:])
    centre = points[[MOUTH_OUTER[0], MOUTH_OUTER[6]], :2].mean(axis=0)
    half_width = abs(points[MOUTH_OUTER[6], 0] - points[MOUTH_OUTER[0], 0]) / 2
    place = (points[:, 0] - centre[0]) / half_width  # -1 at the left corner, 1 at the right one
    central = np.clip(1 - place**2, 0, 1)

    thickness = (1 - 0.45 * unit["AU23"]) * (1 - 0.72 * unit["AU24"]) * (1 - 0.22 * unit["AU12"])
    thickness *= (1 - 0.2 * unit["AU20"]) * (1 + 0.25 * unit["AU18"])
    width = (1 - 0.12 * unit["AU23"]) * (1 - 0.08 * unit["AU24"]) * (1 - 0.36 * unit["AU18"])
    points[lips, 1] = centre[1] + (points[lips, 1] - centre[1]) * thickness
    points[lips, 0] = centre[0] + (points[lips, 0] - centre[0]) * width

    for side, sign in enumerate(SIDES):
        own = by_name(active[side])
        share = np.clip(place[lips] * sign, 0, 1)
        out = 0.13 * own["AU12"] + 0.14 * own["AU20"] - 0.035 * own["AU14"] + 0.02 * own["AU15"]
        drop = 0.16 * own["AU15"] + 0.05 * own["AU20"] - 0.20 * own["AU12"] - 0.025 * own["AU14"]
        points[lips, 0] += sign * out * share
        points[lips, 1] += drop * share**1.7
        # The corners' pull carries the middle of the lips a little way.
        points[lips, 1] += 0.10 * drop * (1 - share)
        half = np.clip(0.5 + 4 * place[upper] * sign, 0, 1)  # both sides meet at the middle of the lip
        points[upper, 1] -= half * own["AU10"] * 0.105 * (1 - 0.35 * np.abs(place[upper]) ** 2)

    chin = unit["AU17"] * 0.075
    points[lips, 1] -= chin * (0.25 + 0.75 * central[lips])
    parted = 0.10 * unit["AU25"] + 0.42 * unit["AU26"] * (0.25 + 0.75 * unit["AU25"])
    parted *= (1 - unit["AU24"]) * (1 - 0.3 * unit["AU23"]) * (1 + 0.15 * unit["AU12"])
    points[upper, 1] -= 0.18 * parted * central[upper] ** 0.6
    points[lower, 1] += 0.82 * parted * central[lower] ** 0.6
    corners = np.array([MOUTH_OUTER[0], MOUTH_OUTER[6], MOUTH_INNER[0], MOUTH_INNER[4]])
    points[corners, 1] += 0.30 * parted
    jaw = np.array(JAW)
    low = np.clip(1 - np.abs(np.arange(17) - 8) / 7, 0, 1) ** 0.6
    points[jaw, 1] += low * (0.29 * unit["AU26"] - 0.03 * unit["AU17"])
