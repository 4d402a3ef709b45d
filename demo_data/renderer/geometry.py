"""Head pose, projection to pixels, and smooth curves through a few points."""

import functools
from dataclasses import dataclass

import numpy as np

CAMERA_DISTANCE = 9.0
"""In face units: far enough for a portrait's mild perspective."""


@dataclass(frozen=True)
class Pose:
    """Position and direction of a head.

    Attributes:
        yaw: Turn to the viewer's right, in degrees.
        pitch: Nod downwards, in degrees.
        roll: Tilt clockwise, in degrees.
        scale: Half the face's width as a share of the image's side.
        x: Shift of the face's centre to the right, as a share of the image's side.
        y: Shift of the face's centre downwards, as a share of the image's side.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 0.34
    x: float = 0.0
    y: float = 0.0

    @classmethod
    def sample(cls, rng: np.random.Generator, *, scale: float = 0.34, spread: float = 1.0) -> "Pose":
        """Draw a pose as in photographs: mostly near frontal, some strongly turned.

        Args:
            rng: Source of randomness.
            scale: Mean of half the face's width as a share of the image's side.
            spread: Factor on every spread; 0 is a centred frontal face.
        """
        yaw, pitch, roll = np.clip(rng.normal(0, (17, 8, 9)), (-42, -20, -28), (42, 20, 28)) * spread
        x, y = np.clip(rng.normal(0, 0.035, 2), -0.08, 0.08) * spread
        size = scale * float(np.clip(1 + rng.normal(0, 0.08) * spread, 0.8, 1.2))
        return cls(float(yaw), float(pitch), float(roll), size, float(x), float(y))


class Projector:
    """Maps face coordinates to pixels of a square image by rotation and weak perspective."""

    def __init__(self, pose: Pose, side: float) -> None:
        yaw, pitch, roll = np.radians((pose.yaw, pose.pitch, pose.roll))
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        self.rotation = tilt @ nod @ turn
        self.rotation_in_plane = (
            tilt[:2, 0],
            -tilt[:2, 1],
        )  # the picture's right and up as the rolled head has them
        self.unit = pose.scale * side
        self.centre = (np.array([0.5 + pose.x, 0.5 + pose.y])) * side
        self.pivot = np.array([0.0, 0.28, 0.0])

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Project points, shape (N, 3), to pixel coordinates, shape (N, 2)."""
        turned = (points - self.pivot) @ self.rotation.T
        near = CAMERA_DISTANCE / (CAMERA_DISTANCE - turned[:, 2:])
        return turned[:, :2] * near * self.unit + self.centre


@functools.lru_cache(maxsize=64)
def _catmull_rom(count: int, closed: bool, steps: int) -> np.ndarray:
    """Return the matrix that maps `count` control points into a dense Catmull-Rom curve."""
    spans = count if closed else count - 1
    place = np.linspace(0, 1, steps, endpoint=False)
    cubic = np.stack(
        [
            -0.5 * place + place**2 - 0.5 * place**3,
            1 - 2.5 * place**2 + 1.5 * place**3,
            0.5 * place + 2 * place**2 - 1.5 * place**3,
            -0.5 * place**2 + 0.5 * place**3,
        ],
        axis=1,
    )
    matrix = np.zeros((spans * steps + (not closed), count))
    for span in range(spans):
        for offset in range(4):
            index = span + offset - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            matrix[span * steps : (span + 1) * steps, index] += cubic[:, offset]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def smooth(points: np.ndarray, *, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Draw a Catmull-Rom curve through points, shape (N, D), with `steps` points per span."""
    return _catmull_rom(len(points), closed, steps) @ points


def vector(*components: float) -> np.ndarray:
    """Return a vector to move or scale points by."""
    return np.array(components)
