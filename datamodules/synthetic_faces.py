"""The synthetic set of ABAW-4 (LSD): generated faces for training, real ones for validation and test.

<root>/training_set_synthetic_images/<CLASS>/*         CLASS as officially spelt, ANGRER included
<root>/validation_set_real_images/<CLASS>/*            images of any format in affect.storage.image_suffixes
<root>/validation_people.csv                           header `image,person`, not in the official set: the person on
                                                       each validation image, named `<CLASS>/<file>`
<root>/LSD_Challenge_test_set_release.txt              header `image,expression`, then names
<root>/test_set_images/<name>
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from pytorch_lightning.utilities import rank_zero_warn

from affect.labels import MISSING_EXPRESSION, SYNTHETIC_EXPRESSIONS, SYNTHETIC_FOLDERS
from affect.storage.image_suffixes import describe_ignored, has_image_suffix, list_images
from affect.storage.text_file import Fault, read_text
from datamodules.augmentation import ColourJitter
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset
from datamodules.readers.annotation_errors import AnnotationError, leaves_root, raise_for_problems
from datamodules.split_overlap import warn_of_copies

TRAIN_FOLDER: Final = "training_set_synthetic_images"
VALIDATION_FOLDER: Final = "validation_set_real_images"
TEST_LIST: Final = "LSD_Challenge_test_set_release.txt"
TEST_FOLDER: Final = "test_set_images"
PEOPLE_FILE: Final = "validation_people.csv"
OFFICIAL_COUNTS: Final = (18286, 15150, 10923, 73285, 144631, 14976)
"""Training images per class of the official set."""
OFFICIAL_VALIDATION: Final = 4_670


@dataclass(frozen=True)
class FaceCopy:
    """A folder that faces are read from: the official one, or its enlarged copy.

    Attributes:
        folder: Path of the folder.
        unreadable: Messages by name of source images that could not be read and have no copy.
        provenance: How the copy was made: settings, digests of network, source and copy.
    """

    folder: Path
    unreadable: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


class SyntheticFacesDataModule(ImageDataModule):
    """Load synthetic faces for training, real ones for validation and, if listed, for test.

    Args:
        root: Folder of the set.
        copies: Enlarged copies to read instead of the official folders, by split: `train`, `val`, `predict`. The
            official folder or list is always the one listed, so that all copies have the same faces in the same order.
        test_images: Folder that the names of the test list are relative to; by default `<root>/test_set_images`.
        jitter: Largest changes of brightness, contrast, saturation and hue while training; None changes nothing.
        **loader: The arguments of ImageDataModule.

    Attributes:
        expressions: Names of the labels, in order.
        copies: Folder of each split that the images are read from.
        people: Person on each validation image, by its name; empty if not known.

    Raises:
        AnnotationError: If a class folder is missing or empty, or a list is malformed.
    """

    expressions: Sequence[str] = SYNTHETIC_EXPRESSIONS

    def __init__(
        self,
        root: str,
        copies: Mapping[str, FaceCopy] | None = None,
        test_images: str | None = None,
        jitter: Sequence[float] | None = (0.3, 0.3, 0.3, 0.1),
        **loader: Any,
    ) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.test_images = Path(test_images) if test_images else self.root / TEST_FOLDER
        official = {
            "train": self.root / TRAIN_FOLDER, "val": self.root / VALIDATION_FOLDER, "predict": self.test_images
        }  # fmt: skip
        self.copies = {split: FaceCopy(folder) for split, folder in official.items()} | dict(copies or {})
        self.jitter = ColourJitter(*jitter) if jitter is not None else None
        self.people: dict[str, str] = {}

    def setup(self, stage: str | None = None) -> None:
        """List the training and validation images; for `predict`, only those of the test list."""
        if stage == "predict":
            self._add("predict", read_test_list(self.root / TEST_LIST), {})
        elif "train" not in self.datasets:
            for split, folder in (("train", TRAIN_FOLDER), ("val", VALIDATION_FOLDER)):
                paths, labels = list_classes(self.root / folder)
                self._add(split, paths, {"expression": labels})
            self._check_overlap()
            self.people = read_people(self.root / PEOPLE_FILE, self.datasets["val"].names.tolist())

    def _add(self, split: str, paths: Sequence[str], labels: Mapping[str, np.ndarray]) -> None:
        copy = self.copies[split]
        dataset = ImageDataset(
            root=copy.folder, paths=paths, size=self.image_size, labels=labels,
            augment=self.jitter if split == "train" else None, on_corrupt=self.on_corrupt,
        )  # fmt: skip
        listed = set(paths)
        dataset.unreadable = {name: reason for name, reason in copy.unreadable.items() if name in listed}
        self.datasets[split] = dataset

    def _check_overlap(self) -> None:
        folders = {"train": self.root / TRAIN_FOLDER, "val": self.root / VALIDATION_FOLDER}
        files = [
            pd.DataFrame({"path": data.paths, "split": split, "label": data.labels["expression"]})
            for split, data in ((split, self.datasets[split]) for split in folders)
        ]
        table = pd.concat(files, ignore_index=True)
        folder = table["split"].map({split: str(folder) for split, folder in folders.items()})
        table["key"] = table["path"].str.rpartition("/")[2]
        table["path"] = folder + "/" + table["path"]
        warn_of_copies(str(self.root), table)

    @property
    def is_official(self) -> bool:
        """Whether the set has the official counts, to which published values refer."""
        return (*self.class_counts(), len(self.datasets["val"])) == (*OFFICIAL_COUNTS, OFFICIAL_VALIDATION)

    def class_counts(self) -> list[int]:
        """Count the training faces of each expression, in label order."""
        return np.bincount(self.datasets["train"].labels["expression"], minlength=len(self.expressions)).tolist()


def list_classes(folder: Path) -> tuple[list[str], np.ndarray]:
    """List the images of the class folders, and warn of other files in them.

    Returns:
        Paths relative to `folder`, sorted within each class, and their labels, shape (N,), int64.

    Raises:
        AnnotationError: If a class folder is missing or holds no image.
    """
    faults: list[Fault] = []
    paths, labels, ignored = scan_classes(folder, faults)
    if faults:
        raise AnnotationError(f"{faults[0].file} {faults[0].reason}")
    if ignored:
        rank_zero_warn(describe_ignored(folder, ignored))
    return paths, labels


def scan_classes(folder: Path, faults: list[Fault]) -> tuple[list[str], np.ndarray, list[str]]:
    """List the images of the class folders, as `list_classes` does.

    Args:
        folder: Folder of the class folders.
        faults: List to which class folders are added that are missing, cannot be listed or hold no image.

    Returns:
        Paths, labels, and paths of the other files and folders in the class folders.
    """
    paths: list[str] = []
    labels: list[int] = []
    ignored: list[str] = []
    for label, name in enumerate(SYNTHETIC_FOLDERS):
        try:
            found, others = list_images(folder / name)
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            reason = "is missing" if is_missing else f"cannot be listed ({error.strerror})"
            faults.append(Fault(str(folder / name), 0, f"{reason}; the set has the class folders {SYNTHETIC_FOLDERS}"))
            continue
        ignored += [f"{name}/{other}" for other in others]
        if not found:
            reason = f"; {describe_ignored(folder / name, others)}" if others else ""
            faults.append(Fault(str(folder / name), 0, f"holds no image{reason}"))
        paths += [f"{name}/{file}" for file in found]
        labels += [label] * len(found)
    return paths, np.array(labels, np.int64), ignored


def read_people(path: Path, names: Sequence[str], faults: list[Fault] | None = None) -> dict[str, str]:
    """Read the person on each validation image.

    Args:
        path: A CSV file with the header `image,person`; suffixes of images do not matter, since a copy's may differ.
        names: Images `<CLASS>/<file>`.
        faults: List to which malformed lines and images without a person are added, instead of an error.

    Returns:
        Person by image; empty if there is no such file.

    Raises:
        AnnotationError: If the file is malformed, lacks one of the images, or gives an image two people.
    """
    if not path.exists():
        return {}
    header, *lines = read_text(path, AnnotationError).split("\n")
    problems = [] if header.replace(" ", "").strip() == "image,person" else [(1, "the header must be 'image,person'")]
    people: dict[str, str] = {}
    for number, line in enumerate(lines, start=2):
        image, _, person = (word.strip() for word in line.partition(","))
        image = image.rpartition(".")[0] or image
        if not line.strip():
            continue
        if not image or not person or "," in person:
            problems.append((number, f"expected an image and its person, got {line!r}"))
        elif people.setdefault(image, person) != person:
            problems.append((number, f"{image!r} shows {people[image]!r} and {person!r}"))
    raise_for_problems(path, problems, faults)
    found = {name: people.get(name.rpartition(".")[0], "") for name in names}
    unknown = [name for name, person in found.items() if not person]
    if faults is not None:
        faults += [Fault(str(path), 0, f"lacks the validation image {name!r}") for name in unknown]
    elif unknown:
        raise AnnotationError(
            f"{path} lacks {len(unknown)} of {len(names)} validation images, for example {unknown[0]}. Complete it, or "
            "remove it: folds are then of images, not of people"
        )
    return found


def read_test_list(path: Path, faults: list[Fault] | None = None) -> list[str]:
    """Read the image names of the test list, in order: a header line, then a name, with or without a label, per line.

    The header is skipped by position; blank lines are skipped too. Duplicates are kept.

    Args:
        path: The list.
        faults: List to which malformed lines are added, instead of an error; they are then left out.

    Raises:
        AnnotationError: If the file is missing, empty or not UTF-8 text, or a line is malformed: it has more than two
            fields, a quotation mark or an unprintable character, or a name that leaves the image folder.
    """
    if not path.exists():
        raise AnnotationError(f"there is no test list {path}")
    problems: list[tuple[int, str]] = []
    names = []
    for number, line in enumerate(read_text(path, AnnotationError).split("\n"), start=1):
        name, *others = (field.strip(" \t") for field in line.split(","))
        if number == 1:
            if has_image_suffix(name):
                problems.append((1, "an image instead of the header line; restore the header"))
        elif any((name, *others)):
            if reason := _name_fault(name, others):
                problems.append((number, reason))
            else:
                names.append(name)
    raise_for_problems(path, problems, faults)
    if not names and not problems:
        raise AnnotationError(f"{path} lists no image")
    return names


def _name_fault(name: str, others: list[str]) -> str | None:
    if not name:
        return "no image name"
    if '"' in name or not name.isprintable():
        return f"image name {name!r} holds a quotation mark or an unprintable character"
    if any(others[1:]):
        return f"{1 + len(others)} fields, expected a name and at most a label"
    return f"{name!r} leaves the folder" if leaves_root(name) else None


def read_truth(path: Path, names: Sequence[str]) -> np.ndarray | None:
    """Read the labels of the test list, which the challenge did not release and drawn sets include.

    Args:
        path: A file with the test list's header and lines `image,label`.
        names: Images of the test list, N of them.

    Returns:
        Label of each image, shape (N,), int64, -1 for one that the file does not name; None if there is no such file.

    Raises:
        AnnotationError: If a line is malformed or its label is not 0 to 5.
    """
    if not path.exists():
        return None
    labels: dict[str, int] = {}
    problems = []
    for number, line in enumerate(read_text(path, AnnotationError).split("\n")[1:], start=2):
        name, _, label = (word.strip() for word in line.partition(","))
        if label.isdecimal() and int(label) < len(SYNTHETIC_EXPRESSIONS):
            labels[name] = int(label)
        elif line.strip():
            problems.append((number, f"expected an image and a label 0 to 5, got {line!r}"))
    raise_for_problems(path, problems)
    return np.array([labels.get(name, MISSING_EXPRESSION) for name in names], np.int64)
