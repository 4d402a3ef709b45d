"""The 68 facial landmarks in the iBUG order, and their positions on a neutral face.

Sagonas et al. (2013), 300 Faces in-the-Wild. Left and right are the viewer's. Lengths are in units of half an average
face's width; x to the right, y down, z towards the viewer; the origin is between the eyes.
"""

from typing import Final

import numpy as np

from demo_data.renderer.identity import Identity

NUM_LANDMARKS: Final = 68
JAW: Final = tuple(range(17))
BROWS: Final = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22))
"""Each brow from its outer to its inner end, left and right."""
NOSE_BRIDGE: Final = (27, 28, 29, 30)
NOSE_BASE: Final = (31, 32, 33, 34, 35)
EYES: Final = ((36, (37, 38), 39, (40, 41)), (45, (44, 43), 42, (47, 46)))
"""Outer corner, upper lid outer to inner, inner corner, lower lid inner to outer; left and right."""
MOUTH_OUTER: Final = tuple(range(48, 60))
MOUTH_INNER: Final = tuple(range(60, 68))
MIRROR: Final = np.array(
    list(range(16, -1, -1)) + list(range(26, 16, -1)) + list(range(27, 31)) + list(range(35, 30, -1))
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
"""Index of each landmark's counterpart after a horizontal flip."""

EYE_LEVEL: Final = 0.0
_JAW_ANGLE: Final = np.linspace(0, np.pi, 17)
_ALONG_BROW: Final = np.linspace(0, 1, 5)
_ALONG_NOSE: Final = np.linspace(0, 1, 4)
_OUTER_LIP: Final = np.array([
    (-1, -0.1), (-0.62, -0.74), (-0.24, -1.08), (0, -0.86), (0.24, -1.08), (0.62, -0.74),
    (1, -0.1), (0.62, 0.78), (0.26, 1.04), (0, 1.10), (-0.26, 1.04), (-0.62, 0.78),
])  # fmt: skip
_INNER_LIP: Final = np.array([
    (-0.86, -0.06), (-0.42, -0.06), (0, 0.02), (0.42, -0.06), (0.86, -0.06), (0.42, 0.04), (0, 0.10), (-0.42, 0.04),
])  # fmt: skip


def depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return z of the smooth face surface (without nose and lips) at face coordinates."""
    return 0.66 * np.sqrt(np.maximum(1 - (x / 1.1) ** 2, 0.03)) - 0.10 * (y - 0.3) ** 2


def jaw_line(identity: Identity) -> np.ndarray:
    """Return the jaw's outline from the left temple over the chin to the right temple, shape (17, 3)."""
    across, down = np.cos(_JAW_ANGLE), np.sin(_JAW_ANGLE)
    power = 0.82 - 0.34 * identity.jaw_squareness
    x = -0.98 * identity.face_width * np.sign(across) * np.abs(across) ** power
    y = -0.04 + (1.36 * identity.face_length + 0.04) * down
    return np.stack([x, y, -0.22 + 0.66 * down**1.5], axis=1)


def neutral_landmarks(identity: Identity) -> np.ndarray:
    """Place a person's landmarks on a face at rest, looking ahead.

    Returns:
        Shape (68, 3), float64, in face units.
    """
    points = np.zeros((NUM_LANDMARKS, 3))
    points[list(JAW)] = jaw_line(identity)
    for side, sign in enumerate((-1.0, 1.0)):
        _place_brow(points, identity, side, sign)
        _place_eye(points, identity, side, sign)
    _place_nose(points, identity)
    _place_mouth(points, identity)
    return points


def _place_brow(points: np.ndarray, identity: Identity, side: int, sign: float) -> None:
    x = 0.44 * identity.eye_spacing + (0.31 - 0.58 * _ALONG_BROW) * identity.brow_length
    arch = 0.085 * identity.brow_arch * np.array([0, 0.72, 1.0, 0.72, 0.15])
    y = -0.27 * identity.brow_height - arch + identity.brow_tilt * (2 * _ALONG_BROW - 1)
    points[list(BROWS[side])] = np.stack([sign * x, y, depth(x, y) + 0.05], axis=1)


def _place_eye(points: np.ndarray, identity: Identity, side: int, sign: float) -> None:
    outer, upper, inner, lower = EYES[side]
    half, opening = 0.225 * identity.eye_width, identity.eye_opening
    across = np.array([1.0, 0.42, -0.36, -1.0, -0.40, 0.42])
    y = np.array([0.0, -0.112, -0.112, 0.012, 0.078, 0.086]) * opening
    x = 0.45 * identity.eye_spacing + across * half
    y = EYE_LEVEL + y - identity.eye_tilt * across
    points[[outer, *upper, inner, *lower]] = np.stack([sign * x, y, depth(x, y) - 0.02], axis=1)


def _place_nose(points: np.ndarray, identity: Identity) -> None:
    tip = 0.47 * identity.nose_length
    raised = np.array([0.04, 0.13, 0.23, 0.34]) * identity.nose_depth
    y = _ALONG_NOSE * tip
    points[list(NOSE_BRIDGE)] = np.stack([0 * y, y, depth(0 * y, y) + raised], axis=1)
    x = np.array([-0.215, -0.105, 0, 0.105, 0.215]) * identity.nose_width
    y = tip + np.array([0.075, 0.125, 0.14, 0.125, 0.075])
    raised = np.array([0.06, 0.16, 0.22, 0.16, 0.06]) * identity.nose_depth
    points[list(NOSE_BASE)] = np.stack([x, y, depth(x, y) + raised], axis=1)


def _place_mouth(points: np.ndarray, identity: Identity) -> None:
    half, level = (
        0.36 * identity.mouth_width,
        0.90 * identity.mouth_height * (0.5 + 0.5 * identity.face_length),
    )
    for indices, shape in ((MOUTH_OUTER, _OUTER_LIP), (MOUTH_INNER, _INNER_LIP)):
        x = shape[:, 0] * half
        lip = np.where(shape[:, 1] < 0, 0.085 * identity.upper_lip, 0.105 * identity.lower_lip)
        y = level + shape[:, 1] * lip + identity.mouth_tilt * shape[:, 0]
        points[list(indices)] = np.stack([x, y, depth(x, y) + 0.10 * (1 - shape[:, 0] ** 2)], axis=1)
