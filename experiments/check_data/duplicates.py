"""Images of a set that are there more than once: the same file content, or the same picture encoded anew."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affect.labels import MISSING_EXPRESSION
from experiments.check_data.image_pass import ImageState
from experiments.check_data.listing import Listing
from experiments.check_data.problems import Effect, Problem

_BLOCK: Final = 4096
"""Images compared at once: the products of two blocks take 64 MB."""


class LookAlike(NamedTuple):
    """Two images of different splits whose thumbnails are nearly the same.

    Attributes:
        first: Path of an image of the training set.
        second: Path of an image of another split.
        split: That split.
        similarity: Correlation of the grey levels of their thumbnails.
    """

    first: str
    second: str
    split: str
    similarity: float


def check_copies(listing: Listing, states: Mapping[str, ImageState]) -> Iterator[Problem]:
    """Yield the images whose files have the same content as that of another path.

    Frames of videos may repeat while labels change; only for single images are two expressions a contradiction.
    """
    first = listing.samples.drop_duplicates("path").set_index("path")
    by_digest: dict[str, list[str]] = defaultdict(list)
    for path in first.index:
        if (state := states.get(path)) is not None and state.digest:
            by_digest[state.digest].append(path)
    splits, expressions = first["split"].to_dict(), first["expression"].to_dict()
    for paths in by_digest.values():
        if len(paths) < 2:
            continue
        original = paths[0]  # splits are in the order train, val, test
        for path in paths[1:]:
            labels = {expressions[original], expressions[path]} - {MISSING_EXPRESSION}
            differ = len(labels) > 1
            if splits[path] != splits[original]:
                effect, kind = Effect.SPOILS, f"the same content in {splits[original]} and {splits[path]}"
            elif differ and "video" not in listing.samples:
                effect, kind = Effect.SPOILS, "the same content with different expressions"
            else:
                effect, kind = Effect.NOTE, "the same content under two paths"
            shown = " and ".join(listing.classes[expressions[each]] for each in (original, path)) if differ else ""
            yield Problem(effect, kind, splits[path], path, 0, f"like {original}{shown and f'; {shown}'}")


def find_look_alikes(listing: Listing, states: Mapping[str, ImageState], threshold: float) -> list[LookAlike]:
    """Find, for each image of another split, the training image that looks most like it.

    Thumbnails of 16 x 16 grey levels are compared by their correlation, each with each. Files of the same content are
    left to `check_copies`, and images without contrast are not compared.

    Args:
        listing: The set.
        states: What was found in the images, by path.
        threshold: Smallest correlation of a pair.
    """
    first = listing.samples.drop_duplicates("path")
    parts = {split: _thumbnails(part["path"].tolist(), states) for split, part in first.groupby("split")}
    if "train" not in parts:
        return []
    found: list[LookAlike] = []
    for split in ("val", "test"):
        if split in parts:
            found += _nearest(parts["train"], parts[split], split, states, threshold)
    return sorted(found, key=lambda pair: -pair.similarity)


def _thumbnails(paths: Sequence[str], states: Mapping[str, ImageState]) -> tuple[list[str], NDArray[np.uint8]]:
    known = [(path, state.thumbnail) for path in paths if (state := states.get(path)) and state.thumbnail is not None]
    kept = [(path, thumbnail.ravel()) for path, thumbnail in known if np.ptp(thumbnail) > 1]
    levels = np.stack([thumbnail for _, thumbnail in kept]) if kept else np.zeros((0, 1), np.uint8)
    return [path for path, _ in kept], levels


def _nearest(
    train: tuple[list[str], NDArray[np.uint8]],
    other: tuple[list[str], NDArray[np.uint8]],
    split: str,
    states: Mapping[str, ImageState],
    threshold: float,
) -> Iterator[LookAlike]:
    for start in range(0, len(other[0]), _BLOCK):
        wanted = _normalised(other[1][start : start + _BLOCK])
        best, best_row = np.full(len(wanted), -1.0), np.zeros(len(wanted), np.int64)
        for begin in range(0, len(train[0]), _BLOCK):
            similarity = wanted @ _normalised(train[1][begin : begin + _BLOCK]).T
            row = similarity.argmax(1)
            value = similarity[np.arange(len(wanted)), row]
            better = value > best
            best[better], best_row[better] = value[better], row[better] + begin
        for row in np.flatnonzero(best >= threshold):
            first, second = train[0][best_row[row]], other[0][start + row]
            if states[first].digest != states[second].digest:
                yield LookAlike(first, second, split, float(best[row]))


def _normalised(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    centred = levels.astype(np.float32)
    centred -= centred.mean(1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def look_alike_problems(pairs: Sequence[LookAlike]) -> list[Problem]:
    """Turn pairs into problems."""
    return [
        Problem(
            Effect.SPOILS, f"looks like an image of train in {pair.split}", pair.split, pair.second, 0,
            f"like {pair.first}, correlation {pair.similarity:.4f}",
        )
        for pair in pairs
    ]  # fmt: skip
