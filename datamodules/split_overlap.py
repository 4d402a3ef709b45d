"""Checks of the splits: images listed twice, and images or videos in both splits."""

import contextlib
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pytorch_lightning.utilities import rank_zero_warn

from affect.storage.fingerprint import file_digest
from datamodules.readers.annotation_errors import AnnotationError, some_of


def warn_of_repeats(source: str, names: Sequence[str], labels: np.ndarray) -> None:
    """Warn of images that a list names more than once, and of those whose labels differ.

    Args:
        source: File or folder that lists them, for the message.
        names: N images, or other keys of the labelled items.
        labels: Shape (N, L); NaN is missing and equal to NaN.
    """
    differ = find_repeats(names, labels)
    if differ.empty:
        return
    message = f"{source}: {len(differ):,} images are listed more than once, such as {some_of(differ.index)}"
    if differ.any():
        examples = some_of(differ[differ].index)
        message += f"; the labels of {int(differ.sum()):,} contradict each other, such as {examples}"
    rank_zero_warn(message)


def find_repeats(names: Sequence[str], labels: np.ndarray) -> pd.Series:
    """Return whether the labels differ, by name, of the names that occur more than once.

    Args:
        names: N names of the labelled items.
        labels: Shape (N, L); NaN is missing and equal to NaN.
    """
    index = pd.Index(names)
    repeated = index.duplicated(keep=False)
    groups = pd.DataFrame(labels[repeated]).groupby(index[repeated].to_numpy(), sort=False)
    return (groups.nunique(dropna=False) > 1).any(axis=1)


def warn_of_shared_videos(source: str, videos: Mapping[str, Iterable[str]], what: str = "videos") -> None:
    """Warn of videos, and thus people, that are in both splits, `train` and `val`; `what` names them."""
    shared = sorted(find_shared(videos))
    if shared:
        rank_zero_warn(
            f"{source}: {len(shared):,} {what} are in both the training and the validation list, such as "
            f"{some_of(shared)}; scores on people known from training are too high"
        )


def refuse_shared_images(source: str, names: Mapping[str, Sequence[str]]) -> None:
    """Raise an error if images are in both splits, `train` and `val`.

    Raises:
        AnnotationError: If any image is in both.
    """
    shared = find_shared(names)
    if shared:
        raise AnnotationError(
            f"{source}: {len(shared):,} images are in both the training and the validation set, such as "
            f"{some_of(shared)}; validation scores would be wrong: take them out of one of the two"
        )


def find_shared(names: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names that are in both splits, `train` and `val`, in the order of the latter."""
    known = set(names["train"])
    return [name for name in dict.fromkeys(names["val"]) if name in known]


def warn_of_copies(source: str, files: pd.DataFrame) -> None:
    """Warn of files that are in both the validation and the training set, and of files with two labels.

    Only files with equal keys are compared: first by size, then by content. Copies under another key are not detected.

    Args:
        source: The data set, for the message.
        files: Columns `path`; `split`, train or val; `key`, for instance the file name; `label`.
    """
    groups: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    paths, keys = files["path"].to_numpy(), files["key"].to_numpy()
    for row in np.flatnonzero(files["key"].duplicated(keep=False)):
        with contextlib.suppress(OSError):  # reported when the image is read
            status = Path(paths[row]).stat()
            if stat.S_ISREG(status.st_mode):
                groups[keys[row], status.st_size].append(int(row))
    shared, contradicting = [], []
    for rows in groups.values():
        if len(rows) < 2:
            continue
        digests = files.iloc[rows].assign(digest=[_digest(paths[row]) for row in rows])
        for _, same in digests.groupby("digest"):
            if same["split"].nunique() > 1:
                shared.append(" and ".join(same.drop_duplicates("split")["path"]))
            elif same["label"].nunique() > 1:
                contradicting.append(" and ".join(same.drop_duplicates("label")["path"]))
    if shared:
        rank_zero_warn(
            f"{source}: {len(shared):,} images are in both the training and the validation set: {some_of(shared)}; "
            "validation scores are too high: take them out of one of the two"
        )
    if contradicting:
        rank_zero_warn(f"{source}: {len(contradicting):,} images have more than one label: {some_of(contradicting)}")


def _digest(path: str) -> str:
    """Return a digest of a file's content, or its path if it cannot be read, which equals no digest."""
    try:
        return file_digest(path)
    except OSError:
        return path
