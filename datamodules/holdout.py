"""Validation images held out from a set without a validation split: whole groups, such as all images of a person."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from affect.errors import UserError
from affect.storage.fingerprint import content_digest


class HoldoutError(UserError):
    """No group can be held out without leaving a class without a training image."""


def hold_out(groups: Sequence[str], labels: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """Choose whole groups for validation, so that about the same share of each class is held out.

    Groups are visited in an order by chance that depends on their names and the seed only; one is held out if that
    brings the classes' shares nearer to the fraction. Every class keeps a training image.

    Args:
        groups: Group of each image, length N: its person, or its path to split by file.
        labels: Class of each image, length N.
        fraction: Share of the images to hold out, in (0, 1).
        seed: Seed of the order.

    Returns:
        Whether each image is held out, shape (N,).

    Raises:
        HoldoutError: If no group can be held out.
    """
    counts: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        counts.setdefault(group, Counter())[label] += 1
    total = Counter(labels)
    held: Counter[str] = Counter()

    def leaves_some(group: str) -> bool:
        return all(held[label] + count < total[label] for label, count in counts[group].items())

    def change(group: str) -> float:
        """Return by how much holding it out changes the squared deviations of the shares."""
        shares = [(held[label], count, total[label]) for label, count in counts[group].items()]
        return sum(((old + new) / size - fraction) ** 2 - (old / size - fraction) ** 2 for old, new, size in shares)

    order = sorted(counts, key=lambda group: content_digest([f"{seed} {group}".encode()]))
    chosen = []
    for group in order:
        if change(group) < 0 and leaves_some(group):
            chosen.append(group)
            held += counts[group]
    if not chosen:
        possible = [group for group in order if leaves_some(group)]
        if not possible:
            raise HoldoutError(f"none of {len(counts)} can be held out without leaving a class without training images")
        chosen = [min(possible, key=change)]
    return np.isin(np.asarray(groups, np.str_), chosen)
