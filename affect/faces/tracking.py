"""Tracking: which face of a picture is which person of the pictures before.

Within a scene, a face is the person whose last box it overlaps. After a cut, or when a person comes back, appearance
decides: the cosine distance to the person's mean feature vector. How large distances are depends on the network, so the
limit is a multiple of what is usual between overlapping faces of the same video. Pairs are chosen together (Hungarian
method): a person is in a picture once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from affect.faces.boxes import overlap

_IMPOSSIBLE: Final = 1e6
_MEMORY: Final = 0.1
"""Weight of the newest face in a person's mean appearance: one turned head does not change it."""
_USUAL: Final = 100
"""Distances over which the usual one is averaged."""
_SIDE: Final = 16
"""Side of the thumbnails by which cuts are seen, in pixels."""


@dataclass(frozen=True)
class TrackingRules:
    """When two faces are one person's.

    Attributes:
        min_overlap: Least intersection over union with a person's last box, in [0, 1].
        max_gap: Pictures for which a person may be missed and is still found by overlap.
        same: Largest distance in appearance, as a multiple of the usual one between overlapping faces.
        cut: Mean difference of two pictures' thumbnails, in grey levels, from which the scene is another.
        remembered: Most persons that are remembered; the one not seen for longest is forgotten first.
    """

    min_overlap: float = 0.3
    max_gap: int = 15
    same: float = 3.0
    cut: float = 20.0
    remembered: int = 100


class Tracker:
    """Number the persons of a video in order of appearance, from 1.

    Args:
        rules: When two faces are one person's.
    """

    def __init__(self, rules: TrackingRules | None = None) -> None:
        self.rules = rules or TrackingRules()
        self._next = 1
        self._person = np.empty(0, np.int64)
        self._seen = np.empty(0, np.int64)
        self._box = np.empty((0, 4), np.float32)
        self._appearance = np.empty((0, 0), np.float32)
        self._usual = np.zeros(2)  # mean distance, and of how many
        self._thumbnail = np.empty(0, np.float32)

    def update(
        self, picture: int, image: NDArray[np.uint8], boxes: NDArray[np.float32], features: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Assign the faces of the next picture.

        Args:
            picture: Its number among those looked at; higher than that of the call before.
            image: The picture, RGB (H, W, 3).
            boxes: Left, top, right and bottom, shape (N, 4).
            features: Any vectors that are more alike for one person than for two, shape (N, D).

        Returns:
            Number of each face's person, shape (N,), no two alike.
        """
        if self._is_cut(image):
            self._box[:] = 0  # places of another scene say nothing
        if not len(boxes):
            return np.empty(0, np.int64)
        looks = _unit(features)
        rows = self._match(picture, boxes, looks)
        new = np.flatnonzero(rows < 0)
        rows[new] = len(self._person) + np.arange(len(new))
        self._add(len(new), looks[new])
        self._seen[rows], self._box[rows] = picture, boxes
        self._appearance[rows] = _unit((1 - _MEMORY) * self._appearance[rows] + _MEMORY * looks)
        person = self._person[rows]
        self._forget()
        return person

    def _is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Compare a picture with the one before; every so many pixels suffice."""
        height, width = image.shape[:2]
        part = np.ascontiguousarray(image[:: max(1, height // 128), :: max(1, width // 128)])
        thumbnail = cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        return bool(before.size) and float(np.abs(thumbnail - before).mean()) >= self.rules.cut

    def _match(self, picture: int, boxes: NDArray[np.float32], looks: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the row of each face's person, -1 for a new one."""
        rows = np.full(len(boxes), -1)
        if not len(self._person):
            return rows
        distance = 1 - looks @ self._appearance.T
        shared = overlap(boxes, self._box)
        near = (picture - self._seen <= self.rules.max_gap + 1) & (shared >= self.rules.min_overlap)
        _assign(rows, np.where(near, 1 - shared + 0.1 * distance, _IMPOSSIBLE))
        mean, count = self._usual.tolist()
        for face in np.flatnonzero(rows >= 0):
            count = min(count + 1, _USUAL)
            mean += (distance[face, rows[face]] - mean) / count
        self._usual = np.array([mean, count])
        if count:
            _assign(rows, np.where(distance <= self.rules.same * mean, distance, _IMPOSSIBLE))
        return rows

    def _add(self, count: int, looks: NDArray[np.float32]) -> None:
        self._person = np.append(self._person, self._next + np.arange(count))
        self._next += count
        self._seen = np.append(self._seen, np.zeros(count, np.int64))
        self._box = np.vstack([self._box, np.zeros((count, 4), np.float32)])
        self._appearance = np.vstack([self._appearance, looks]) if self._appearance.size else looks.copy()

    def _forget(self) -> None:
        kept = np.sort(np.argsort(-self._seen, kind="stable")[: self.rules.remembered])
        self._person, self._seen = self._person[kept], self._seen[kept]
        self._box, self._appearance = self._box[kept], self._appearance[kept]

    def state(self) -> dict[str, NDArray]:
        """Return all that `restore` needs to go on exactly here."""
        return {
            "next": np.array(self._next), "person": self._person, "seen": self._seen, "box": self._box,
            "appearance": self._appearance, "usual": self._usual, "thumbnail": self._thumbnail,
        }  # fmt: skip

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Go on from a state."""
        self._next = int(state["next"])
        self._person, self._seen = state["person"].copy(), state["seen"].copy()
        self._box, self._appearance = state["box"].copy(), state["appearance"].copy()
        self._usual, self._thumbnail = state["usual"].copy(), state["thumbnail"].copy()


def _assign(rows: NDArray[np.int64], cost: NDArray) -> None:
    """Give faces that have no row the rows of least total cost, of those that no face has."""
    cost = cost.copy()
    cost[rows >= 0], cost[:, rows[rows >= 0]] = _IMPOSSIBLE, _IMPOSSIBLE
    for face, row in zip(*linear_sum_assignment(cost), strict=True):
        if cost[face, row] < _IMPOSSIBLE:
            rows[face] = row


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
