"""The synthetic set of ABAW-4 (LSD): generated faces to learn from, real ones to validate and test on.

<root>/training_set_synthetic_images/<CLASS>/*.jpg     CLASS as officially spelt, ANGRER included
<root>/validation_set_real_images/<CLASS>/*.jpg
<root>/LSD_Challenge_test_set_release.txt              header `image,expression`, then names
<root>/test_set_images/<name>
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from affect.labels import SYNTHETIC_EXPRESSIONS, SYNTHETIC_FOLDERS
from affect.text_files import read_text
from affect.upscaled_tree import SUFFIXES
from datamodules.annotation_errors import AnnotationError, leaves_root, raise_for_problems
from datamodules.augmentation import ColourJitter
from datamodules.image_datamodule import ImageDataModule
from datamodules.images import ImageDataset
from datamodules.index_cache import fingerprint
from datamodules.split_overlap import warn_of_copies

TRAIN_FOLDER: Final = "training_set_synthetic_images"
VALIDATION_FOLDER: Final = "validation_set_real_images"
TEST_LIST: Final = "LSD_Challenge_test_set_release.txt"
TEST_FOLDER: Final = "test_set_images"


class SyntheticFacesDataModule(ImageDataModule):
    """Load synthetic faces for training, real ones for validation and, if listed, for test.

    Args:
        root: Folder of the set.
        train_folder: Folder with the training classes, for instance an upscaled copy; by default the official one.
        validation_folder: The same for validation.
        test_images: Folder that the names of the test list are relative to; by default `<root>/test_set_images`.
        jitter: Largest changes of brightness, contrast, saturation and hue while training; None changes nothing.
        **loader: The arguments of ImageDataModule.

    Attributes:
        expressions: Names of the labels, in order.
        fingerprint: State of the folders, for provenance.

    Raises:
        AnnotationError: If a class folder is missing or empty, or the test list is malformed.
    """

    expressions: Sequence[str] = SYNTHETIC_EXPRESSIONS

    def __init__(
        self,
        root: str,
        train_folder: str | None = None,
        validation_folder: str | None = None,
        test_images: str | None = None,
        jitter: Sequence[float] | None = (0.3, 0.3, 0.3, 0.1),
        **loader: Any,
    ) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.folders = {
            "train": Path(train_folder) if train_folder else self.root / TRAIN_FOLDER,
            "val": Path(validation_folder) if validation_folder else self.root / VALIDATION_FOLDER,
        }
        self.test_images = Path(test_images) if test_images else self.root / TEST_FOLDER
        self.jitter = ColourJitter(*jitter) if jitter is not None else None
        self.fingerprint = ""

    def setup(self, stage: str | None = None) -> None:
        """Find the images to learn from and to validate on, or those of the test list, which predicting needs alone."""
        if stage == "predict":
            self.datasets["predict"] = ImageDataset(
                root=self.test_images, paths=read_test_list(self.root / TEST_LIST), size=self.image_size, labels={},
                on_corrupt=self.on_corrupt,
            )  # fmt: skip
        elif "train" not in self.datasets:
            for split, folder in self.folders.items():
                paths, labels = list_classes(folder)
                self.datasets[split] = ImageDataset(
                    root=folder, paths=paths, size=self.image_size, labels={"expression": labels},
                    augment=self.jitter if split == "train" else None, on_corrupt=self.on_corrupt,
                )  # fmt: skip
            self._check_overlap()
            classes = [folder / name for folder in self.folders.values() for name in SYNTHETIC_FOLDERS]
            self.fingerprint = fingerprint(classes, self.root)

    def _check_overlap(self) -> None:
        files = [
            pd.DataFrame({"path": data.paths, "split": split, "label": data.labels["expression"]})
            for split, data in ((split, self.datasets[split]) for split in self.folders)
        ]
        table = pd.concat(files, ignore_index=True)
        folder = table["split"].map({split: str(folder) for split, folder in self.folders.items()})
        table["key"] = table["path"].str.rpartition("/")[2]
        table["path"] = folder + "/" + table["path"]
        warn_of_copies(str(self.root), table)

    def class_counts(self) -> list[int]:
        """Count the training faces of each expression, in label order."""
        return np.bincount(
            self.datasets["train"].labels["expression"], minlength=len(self.expressions)
        ).tolist()


def list_classes(folder: Path) -> tuple[list[str], np.ndarray]:
    """List the images of the class folders.

    Returns:
        Paths relative to `folder`, sorted within each class, and their labels, shape (N,), int64.

    Raises:
        AnnotationError: If a class folder is missing or holds no image.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(SYNTHETIC_FOLDERS):
        if not (folder / name).is_dir():
            raise AnnotationError(
                f"{folder / name} is missing; the set has the class folders {SYNTHETIC_FOLDERS}"
            )
        found = sorted(path.name for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise AnnotationError(f"{folder / name} holds no image")
        paths += [f"{name}/{file}" for file in found]
        labels += [label] * len(found)
    return paths, np.array(labels, np.int64)


def read_test_list(path: Path) -> list[str]:
    """Read the image names of the test list, in order: a header line, then a name, with or without a label, per line.

    The header is skipped by position; blank lines are skipped too. Duplicates are kept.

    Raises:
        AnnotationError: If the file is missing, empty or no UTF-8 text, or a line is malformed: it has more than two
            fields, a quotation mark or an unprintable character, or a name that leaves the image folder.
    """
    if not path.exists():
        raise AnnotationError(f"there is no test list {path}")
    problems: list[tuple[int, str]] = []
    names = []
    for number, line in enumerate(read_text(path, AnnotationError).split("\n"), start=1):
        name, *others = (field.strip(" \t") for field in line.split(","))
        if number == 1:
            if Path(name).suffix.lower() in SUFFIXES:
                problems.append((1, "an image stands where the header line should; put the header back"))
        elif any((name, *others)):
            if reason := _name_fault(name, others):
                problems.append((number, reason))
            names.append(name)
    raise_for_problems(path, problems)
    if not names:
        raise AnnotationError(f"{path} lists no image")
    return names


def _name_fault(name: str, others: list[str]) -> str | None:
    if not name:
        return "no image name"
    if '"' in name or not name.isprintable():
        return f"image name {name!r} holds a quotation mark or an unprintable character"
    if any(others[1:]):
        return f"{1 + len(others)} fields, expected a name and at most a label"
    return f"{name} leaves the folder" if leaves_root(name) else None
