"""Smoothing of frame-wise predictions over time, within a video and over frame numbers rather than rows.

The Gaussian weight exp(-(frame difference)^2 / sigma) is the one published for s-Aff-Wild2 (Savchenko 2024,
ABAW-7, arXiv 2407.13184). Every output is a weighted mean: the weights that were really used are what it is divided by.
"""

import itertools
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.sparse import csr_array

from affect.storage.json_file import json_content

Kernel = Literal["gaussian", "box"]
KERNELS: Final[tuple[Kernel, ...]] = ("gaussian", "box")
_PAIRS_AT_ONCE: Final = 4_000_000  # bounds memory at about 100 MB


@json_content
@dataclass(frozen=True)
class Smoothing:
    """Smoothing of one task's predictions.

    Attributes:
        window: Farthest neighbour on each side, in frames; 0 changes nothing. No neighbour is ever taken from across
            a gap wider than this.
        kernel: `gaussian` or `box` (all neighbours alike).
        sigma: Of the Gaussian, in frames squared; published values are 1e4 to 1e5.
        neighbours: Most frames taken on each side, None for all in the window.

    Raises:
        ValueError: If a value is out of range.
    """

    window: int = 0
    kernel: Kernel = "gaussian"
    sigma: float = 1e4
    neighbours: int | None = None

    def __post_init__(self) -> None:
        if self.window < 0 or not 0 < self.sigma < np.inf or (self.neighbours is not None and self.neighbours < 0):
            raise ValueError(f"smoothing needs window >= 0, a finite sigma > 0 and neighbours >= 0, got {self}")
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown smoothing kernel {self.kernel!r}; choose gaussian or box")


def smooth(values: np.ndarray, video: np.ndarray, frame: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    """Replace each row by the weighted mean of its neighbours in the same video.

    Args:
        values: Predictions, shape (N, D), rows in any order; NaN takes no part, and is filled in where a neighbour
            has a value.
        video: Video number of each row, shape (N,), integer.
        frame: Frame number of each row, shape (N,), integer. Rows of the same frame count as one, by their mean.
        smoothing: Kernel and reach.

    Returns:
        Smoothed predictions in the same order, shape (N, D), same dtype; NaN where no neighbour has a value.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if values.ndim != 2 or video.shape != frame.shape or video.shape != values.shape[:1]:
        raise ValueError(f"shapes do not fit: values {values.shape}, video {video.shape}, frame {frame.shape}")
    if smoothing.window == 0 or not len(values):
        return values.copy()
    order = np.lexsort((frame, video))
    video, frame = video[order], frame[order]
    is_first = np.append(True, (np.diff(video) != 0) | (np.diff(frame) != 0))
    starts = np.flatnonzero(is_first)
    means = _mean_of_each_frame(values[order].astype(np.float64), starts)
    smoothed = _smooth_frames(means, video[starts], frame[starts], smoothing)
    result = np.empty_like(values)
    result[order] = smoothed[np.cumsum(is_first) - 1]
    return result


def _mean_of_each_frame(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Average the rows from each start to the next; NaN takes no part."""
    if len(starts) == len(values):
        return values
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    with np.errstate(invalid="ignore"):
        return sums / np.add.reduceat(known, starts, dtype=np.int64)


def _smooth_frames(values: np.ndarray, video: np.ndarray, frame: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    """Smooth rows that are sorted by video and frame, each frame once."""
    known = ~np.isnan(values)
    # One column more counts the weights; with gaps every column needs its own.
    weighed = np.ones((len(values), 1)) if known.all() else known
    content = np.hstack([np.where(known, values, 0.0), weighed])
    first, last = _neighbourhoods(video, frame, smoothing)
    sums = np.empty_like(content)
    for rows in _chunks(last - first):
        sums[rows] = _weights(frame, first, last, rows, smoothing) @ content
    width = values.shape[1]
    with np.errstate(invalid="ignore"):  # 0/0 is NaN: nothing to go by
        return sums[:, :width] / sums[:, width:]


def _neighbourhoods(video: np.ndarray, frame: np.ndarray, smoothing: Smoothing) -> tuple[np.ndarray, np.ndarray]:
    """Find the first row of each row's neighbourhood and the one after its last, for sorted rows."""
    starts = np.flatnonzero(np.diff(video, prepend=video[0] - 1))
    stops = np.append(starts[1:], len(video))
    first, last = np.empty(len(video), np.int64), np.empty(len(video), np.int64)
    for start, stop in zip(starts, stops, strict=True):
        frames = frame[start:stop].astype(np.int64)
        first[start:stop] = start + np.searchsorted(frames, frames - smoothing.window, side="left")
        last[start:stop] = start + np.searchsorted(frames, frames + smoothing.window, side="right")
    if smoothing.neighbours is not None:
        position = np.arange(len(video))
        first = np.maximum(first, position - smoothing.neighbours)
        last = np.minimum(last, position + smoothing.neighbours + 1)
    return first, last


def _chunks(sizes: np.ndarray) -> list[slice]:
    """Cut rows so that each chunk has a bounded number of pairs."""
    chunk = np.cumsum(sizes) // _PAIRS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(sizes)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _weights(frame: np.ndarray, first: np.ndarray, last: np.ndarray, rows: slice, smoothing: Smoothing) -> csr_array:
    """Build the weights of some rows over all rows, one sparse row each."""
    sizes = (last - first)[rows]
    pointers = np.concatenate([[0], np.cumsum(sizes)])
    columns = np.arange(pointers[-1]) - np.repeat(pointers[:-1] - first[rows], sizes)
    if smoothing.kernel == "box":
        weights = np.ones(len(columns))
    else:
        distance = (frame[columns] - np.repeat(frame[rows], sizes)).astype(np.float64)
        weights = np.exp(-np.square(distance) / smoothing.sigma)
    return csr_array((weights, columns, pointers), shape=(len(sizes), len(frame)))
