"""Predictions for frames whose image is missing: the last frame of the video before them stands in."""

import numpy as np


def fill_absent(values: np.ndarray, video: np.ndarray, frame: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Replace rows of NaN by the previous frame's row of the same video.

    Args:
        values: Predictions, shape (N, D), rows in any order; a row is absent if its first value is NaN.
        video: Video number of each row, shape (N,).
        frame: Frame number of each row, shape (N,).
        neutral: Row for a video that has none at all, shape (D,).

    Returns:
        Predictions without NaN, shape (N, D). Before a video's first present frame, that one stands in.
    """
    order = np.lexsort((frame, video))
    ordered, videos = values[order], video[order]
    present = ~np.isnan(ordered[:, 0])
    position = np.arange(len(order))
    previous = np.maximum.accumulate(np.where(present, position, -1))
    following = np.minimum.accumulate(np.where(present, position, len(order))[::-1])[::-1]
    result = np.broadcast_to(neutral, values.shape).astype(values.dtype)
    for source in (following, previous):  # the later assignment wins
        known = (source >= 0) & (source < len(order))
        known[known] = videos[source[known]] == videos[known]
        result[order[known]] = ordered[source[known]]
    return result
