"""Checks of the image files of a listing: missing, unreadable or unusual ones, and face boxes."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pandas as pd

from datamodules.images.missing_files import missing_images
from experiments.check_data.image_pass import ImageState
from experiments.check_data.listing import BOX, Listing
from experiments.check_data.problems import Effect, Problem

_VISIBLE: Final = 0.5
"""Smallest share of a face box that should be inside the image."""


def check_missing(listing: Listing) -> tuple[list[str], list[Problem]]:
    """Look for the files of all listed images.

    Returns:
        Paths of the images that are there, each once, in the order of the list; and the problems.
    """
    missing = missing_images(listing.root, listing.samples["path"].tolist())
    first = listing.samples.drop_duplicates("path")
    problems = [
        Problem(_effect(split), "an image is missing", split, path, 0, missing[path])
        for split, path in first[["split", "path"]].itertuples(index=False)
        if path in missing
    ]
    return [path for path in first["path"] if path not in missing], problems


def check_images(listing: Listing, states: Mapping[str, ImageState], min_face: int) -> Iterator[Problem]:
    """Yield what is wrong with the opened images and the faces on them.

    Args:
        listing: The set.
        states: What was found in the images, by path.
        min_face: Smallest side of a face in pixels that is not called tiny.
    """
    first = listing.samples.drop_duplicates("path")
    for split, path in first[["split", "path"]].itertuples(index=False):
        state = states.get(path)
        if state is not None and state.fault:
            yield Problem(_effect(split), "an image cannot be read", split, path, 0, state.fault)
        elif state is not None:
            yield from (Problem(Effect.NOTE, f"an image {remark}", split, path) for remark in state.remarks)
    yield from _check_faces(listing, states, min_face)


def _check_faces(listing: Listing, states: Mapping[str, ImageState], min_face: int) -> Iterator[Problem]:
    samples = listing.samples
    has_boxes = "width" in samples and bool((samples["width"] > 0).any())
    is_known = [state is not None and not state.fault for state in map(states.get, samples["path"])]
    known = samples[np.array(is_known, bool)]
    size = np.array([states[path][:2] for path in known["path"]], np.int64).reshape(-1, 2)
    box = known[BOX].to_numpy(np.int64) if has_boxes else np.concatenate([np.zeros_like(size), size], axis=1)
    corner, sides = box[:, :2], box[:, 2:]
    visible = np.clip(np.minimum(corner + sides, size) - np.maximum(corner, 0), 0, None)
    share = visible.prod(1) / sides.prod(1).clip(1)
    outside = ~visible.all(1)
    mostly_outside = ~outside & (share < _VISIBLE)
    tiny = ~outside & (visible.min(1, initial=2**31) < min_face)
    named = "face box" if has_boxes else "image"
    for wrong, effect, kind in (
        (outside, Effect.STOPS, "a face box is outside the image"),
        (mostly_outside, Effect.NOTE, "more than half of a face box is outside the image"),
        (tiny, Effect.NOTE, f"a face of less than {min_face} pixels"),
    ):
        for row in np.flatnonzero(wrong):
            split, path = known["split"].iloc[row], known["path"].iloc[row]
            shown = f"{named} {_box(box[row])} of an image of " if has_boxes else ""
            detail = f"{shown}{size[row, 0]} x {size[row, 1]}"
            yield Problem(effect if split != "test" else Effect.NOTE, kind, split, path, 0, detail)


def _box(box: np.ndarray) -> str:
    left, top, width, height = box.tolist()
    return f"{left},{top} {width} x {height}"


def _effect(split: str) -> Effect:
    """Return what an image does that cannot be read: a submission goes on without it, a training does not."""
    return Effect.NOTE if split == "test" else Effect.STOPS


def describe_sizes(states: Mapping[str, ImageState]) -> str:
    """Return the range of the images' sizes as a line; empty if none was read."""
    sizes = pd.DataFrame([state[:2] for state in states.values() if state.width], columns=["width", "height"])
    if sizes.empty:
        return ""
    (width, height), count = sizes.value_counts().index[0], int(sizes.value_counts().iloc[0])
    low, high = sizes.min().tolist(), sizes.max().tolist()
    return (
        f"sizes: {low[0]} to {high[0]} pixels wide, {low[1]} to {high[1]} high; most frequent {width} x {height}, "
        f"{count:,} of {len(sizes):,} images"
    )
