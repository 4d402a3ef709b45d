"""Checks of a listing by itself: counts, labels, repeated samples, images and videos in two splits."""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

import numpy as np

from affect.labels import ACTION_UNITS
from datamodules.split_overlap import find_repeats, find_shared
from experiments.check_data.listing import BOX, Listing
from experiments.check_data.problems import Effect, Problem

_LOOKS_OFFICIAL: Final = 0.25
"""Share of the published number of samples from which a set is compared with the published counts."""


def check_samples(listing: Listing) -> Iterator[Problem]:
    """Yield what is wrong with the labels and the splits of a listing."""
    if listing.classes:
        for split in ("train", "val"):
            yield from _check_labels(listing, split)
    for split in listing.splits:
        yield from _check_repeats(listing, split)
    for first, second in combinations(listing.splits, 2):
        yield from _check_overlap(listing, first, second)


def looks_official(listing: Listing, split: str) -> bool:
    """Return whether a split has at least a quarter of the published number of samples."""
    found = int((listing.samples["split"] == split).sum())
    return found >= _LOOKS_OFFICIAL * sum(listing.published.get(split, (np.inf,)))


def _check_labels(listing: Listing, split: str) -> Iterator[Problem]:
    samples = listing.samples[listing.samples["split"] == split]
    if samples.empty:
        yield Problem(Effect.STOPS, "no usable sample", split, "")
        return
    counts = listing.class_counts(split)
    effect = Effect.SPOILS if split == "train" else Effect.NOTE
    for name, count in zip(listing.classes, counts, strict=True):
        if not count:
            yield Problem(effect, "no sample of an expression", split, "", 0, name)
    for column in ("valence", "arousal", *ACTION_UNITS):
        if column in samples and samples[column].isna().all():
            yield Problem(Effect.NOTE, "no label of a task", split, "", 0, column)
        elif column in ACTION_UNITS and column in samples and not (samples[column] == 1).any():
            yield Problem(effect, "an action unit is never active", split, "", 0, column)
    published = list(listing.published.get(split, ()))
    found = counts if len(published) > 1 else [len(samples)]
    # The reader of s-Aff-Wild2 compares more counts than these.
    if published and "video" not in samples and looks_official(listing, split) and found != published:
        yield Problem(
            Effect.NOTE, "counts differ from the published ones", split, "", 0,
            f"{sum(found):,} samples instead of {sum(published):,}",
        )  # fmt: skip


def _check_repeats(listing: Listing, split: str) -> Iterator[Problem]:
    samples = listing.samples[listing.samples["split"] == split]
    # A photo of two people is listed twice, with two boxes.
    key = [name for name in ("path", *BOX) if name in samples]
    repeated = samples[samples.duplicated(key, keep=False)]
    names = [" ".join(map(str, values)) for values in repeated[key].itertuples(index=False)]
    paths = dict(zip(names, repeated["path"], strict=True))
    for name, differ in find_repeats(names, repeated[listing.label_columns].to_numpy(np.float64)).items():
        kind = "listed more than once" + (", with different labels" if differ else "")
        yield Problem(Effect.SPOILS if differ else Effect.NOTE, kind, split, paths[str(name)])


def _check_overlap(listing: Listing, first: str, second: str) -> Iterator[Problem]:
    samples = listing.samples
    parts = {"train": samples[samples["split"] == first], "val": samples[samples["split"] == second]}
    effect = Effect.STOPS if second == "val" else Effect.SPOILS
    for path in find_shared({name: part["path"] for name, part in parts.items()}):
        yield Problem(effect, f"the same path in {first} and {second}", second, path)
    if "video" in samples:
        for video in sorted(find_shared({name: part["video"] for name, part in parts.items()})):
            yield Problem(Effect.SPOILS, f"a video, and thus a person, in {first} and {second}", second, video)
