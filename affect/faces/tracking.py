"""Tracking: which face of a picture is which person of the pictures before.

A face is matched by overlap with where a person was a few pictures ago, unless it looks like somebody else (a cut),
and otherwise by appearance, the cosine of feature vectors. Pairs are chosen together (Hungarian method), so that a
person is in a picture once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from affect.faces.boxes import overlap

_NEVER: Final = -1e3


@dataclass(frozen=True)
class TrackingRules:
    """When two faces are one person's.

    Attributes:
        min_overlap: Least intersection over union with a person's last box, in [0, 1].
        max_gap: Pictures after which a person's last box says nothing any more.
        different: Cosine below which overlapping faces are two persons': one has taken the other's place.
        same: Cosine from which a face is a person's wherever it is.
        remembered: Most persons that are remembered; the one not seen for longest is forgotten first.
    """

    min_overlap: float = 0.3
    max_gap: int = 15
    different: float = 0.5
    same: float = 0.8
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
        self._frame = np.empty(0, np.int64)
        self._box = np.empty((0, 4), np.float32)
        self._appearance = np.empty((0, 0), np.float32)

    def update(self, frame: int, boxes: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Assign the faces of the next picture.

        Args:
            frame: Its number; higher than that of the call before.
            boxes: Left, top, right and bottom, shape (N, 4).
            features: Any vectors that are more alike for one person than for two, shape (N, D).

        Returns:
            Number of each face's person, shape (N,), no two alike.
        """
        if not len(boxes):
            return np.empty(0, np.int64)
        looks = _unit(features)
        rows = self._match(frame, boxes, looks)
        new = rows < 0
        rows[new] = len(self._person) + np.arange(new.sum())
        self._add(int(new.sum()), looks.shape[1])
        first = new.nonzero()[0]
        self._appearance[rows[first]] = looks[first]
        self._frame[rows], self._box[rows] = frame, boxes
        # A slowly moving mean: one turned head does not change what a person looks like.
        self._appearance[rows] = _unit(0.9 * self._appearance[rows] + 0.1 * looks)
        person = self._person[rows]
        self._forget()
        return person

    def _match(self, frame: int, boxes: NDArray[np.float32], looks: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the row of each face's person, -1 for a new one."""
        rows = np.full(len(boxes), -1)
        if not len(self._person):
            return rows
        alike = looks @ self._appearance.T
        shared = overlap(boxes, self._box)
        near = (frame - self._frame <= self.rules.max_gap) & (shared >= self.rules.min_overlap)
        by_place = np.where(near & (alike >= self.rules.different), shared + alike, _NEVER)
        by_looks = np.where(alike >= self.rules.same, alike, _NEVER)
        for score in (by_place, by_looks):
            score[rows >= 0], score[:, rows[rows >= 0]] = _NEVER, _NEVER
            for face, row in zip(*linear_sum_assignment(score, maximize=True), strict=True):
                if score[face, row] > _NEVER:
                    rows[face] = row
        return rows

    def _add(self, count: int, width: int) -> None:
        self._person = np.append(self._person, self._next + np.arange(count))
        self._next += count
        self._frame = np.append(self._frame, np.zeros(count, np.int64))
        self._box = np.vstack([self._box, np.zeros((count, 4), np.float32)])
        before = self._appearance if len(self._appearance) else np.empty((0, width), np.float32)
        self._appearance = np.vstack([before, np.zeros((count, width), np.float32)])

    def _forget(self) -> None:
        kept = np.sort(np.argsort(-self._frame, kind="stable")[: self.rules.remembered])
        self._person, self._frame = self._person[kept], self._frame[kept]
        self._box, self._appearance = self._box[kept], self._appearance[kept]

    def state(self) -> dict[str, NDArray]:
        """Return all that `restore` needs to go on exactly here."""
        return {
            "next": np.array(self._next), "person": self._person, "frame": self._frame, "box": self._box,
            "appearance": self._appearance,
        }  # fmt: skip

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Go on from a state."""
        self._next = int(state["next"])
        self._person, self._frame = state["person"].copy(), state["frame"].copy()
        self._box, self._appearance = state["box"].copy(), state["appearance"].copy()


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
