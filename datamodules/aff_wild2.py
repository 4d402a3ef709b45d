"""s-Aff-Wild2, the multi-task challenge's set of single frames from videos (Kollias 2022, arXiv 2207.01138)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.frame_names import video_of
from affect.labels import AFFWILD2_EXPRESSIONS
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset
from datamodules.readers.aff_wild2 import Annotations, read_annotations, read_test_list
from datamodules.readers.aff_wild2_counts import (
    TEST_LIST,
    TRAINING_LIST,
    VALIDATION_LIST,
    check_official_counts,
    check_official_test_list,
    is_official,
)
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.split_overlap import refuse_shared_images, warn_of_repeats, warn_of_shared_videos

IMAGE_FOLDER: Final = "cropped_aligned"
LISTS: Final = {"train": TRAINING_LIST, "val": VALIDATION_LIST}


def load_annotations(root: str | Path, split: str, check_counts: bool = True) -> Annotations:
    """Read the labelled rows of a split and compare an official list with the published counts.

    Args:
        root: Folder that holds the lists.
        split: `train` or `val`.
        check_counts: Reject a list that looks official but has other counts.

    Raises:
        AnnotationError: If the list is missing or malformed, holds no label, or its counts differ.
    """
    annotations = read_annotations(Path(root) / LISTS[split])
    if check_counts:
        check_official_counts(LISTS[split], annotations.report)
    if not len(annotations):
        raise AnnotationError(f"{Path(root) / LISTS[split]}: no row has a label")
    return annotations


def load_splits(root: str | Path, check_counts: bool = True) -> dict[str, Annotations]:
    """Read the labelled rows of both splits, `train` and `val`, and compare them with each other.

    Warns of images that a list names twice and of videos that are in both lists.

    Raises:
        AnnotationError: As in `load_annotations`, or if an image is in both lists.
    """
    annotations = {split: load_annotations(root, split, check_counts) for split in LISTS}
    for split, rows in annotations.items():
        labels = np.column_stack([rows.expression, rows.valence_arousal, rows.action_units])
        warn_of_repeats(str(Path(root) / LISTS[split]), rows.name, labels)
    refuse_shared_images(str(root), {split: rows.name for split, rows in annotations.items()})
    videos = {split: map(video_of, rows.name) for split, rows in annotations.items()}
    warn_of_shared_videos(str(root), videos)
    return annotations


def is_official_set(annotations: Mapping[str, Annotations]) -> bool:
    """Return whether both splits are those of the official set, to which published values refer."""
    return is_official({LISTS[split]: rows.report for split, rows in annotations.items()})


def load_test_names(root: str | Path, check_counts: bool = True) -> list[str]:
    """Read the test list's image ids, in order, duplicates included.

    Raises:
        AnnotationError: If the list is missing or malformed, or its counts differ from the published ones.
    """
    names = read_test_list(Path(root) / TEST_LIST)
    if check_counts:
        check_official_test_list(names)
    return names


class AffWild2DataModule(ImageDataModule):
    """Load frames with their labels, for training a network end to end.

    Args:
        root: Folder with the lists and `cropped_aligned/<video>/<frame>.jpg`.
        check_counts: As in `load_annotations`.
        **loader: The arguments of ImageDataModule.

    Attributes:
        expressions: Names of the expression labels, in order.
        annotations: Labelled rows by split, after `setup`.

    Raises:
        AnnotationError: If the folder is not s-Aff-Wild2, or its lists are malformed.
    """

    expressions: Sequence[str] = AFFWILD2_EXPRESSIONS

    def __init__(self, root: str, check_counts: bool = True, **loader: Any) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.check_counts = check_counts
        self.annotations: dict[str, Annotations] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the lists and build the training and validation sets."""
        if self.datasets:
            return
        self.annotations = load_splits(self.root, self.check_counts)
        for split, rows in self.annotations.items():
            self.datasets[split] = ImageDataset(
                root=image_folder(self.root),
                paths=rows.name,
                size=self.image_size,
                labels=rows.labels,
                on_corrupt=self.on_corrupt,
            )

    @property
    def is_official(self) -> bool:
        """Whether this is the official set, to which published values refer."""
        return is_official_set(self.annotations)


def image_folder(root: str | Path) -> Path:
    """Return the folder that image ids are relative to.

    Raises:
        AnnotationError: If it is missing.
    """
    folder = Path(root) / IMAGE_FOLDER
    if not folder.is_dir():
        raise AnnotationError(f"no folder {folder}; unpack the set's {IMAGE_FOLDER} there")
    return folder
