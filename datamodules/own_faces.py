"""Own images for stage 1: a folder per class, or a table (docs/own_data.md)."""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from pytorch_lightning.utilities import rank_zero_warn

from affect.labels import MISSING_EXPRESSION, VALENCE_AROUSAL
from affect.storage.image_suffixes import has_image_suffix
from datamodules.holdout import HoldoutError, hold_out
from datamodules.labelled_faces import FaceTable, LabelledFacesDataModule
from datamodules.readers.annotation_errors import AnnotationError, some_of
from datamodules.readers.class_folders import SPLITS, person_by_name, read_class_folders
from datamodules.readers.face_table import BOX, TableFormat, read_face_table
from datamodules.split_overlap import warn_of_shared_videos

OWN_LAYOUTS: Final = ("folders", "table")
SPLIT_BY: Final = ("given", "person", "file")


@dataclass(frozen=True)
class OwnDataFormat:
    """How own images are labelled and split.

    Attributes:
        layout: `folders` or `table`.
        table: File of the table, relative to the root; None: the only CSV file there.
        table_format: How the table is to be read.
        split_by: `given`, or what is held out for validation: `person` or `file`.
        val_fraction: Share of the images to hold out, in (0, 1).
        split_seed: Seed of the choice.
        person_pattern: Regular expression that finds the person in a file name; None: see the readers.
        rename: Other names of classes, by the name in the data; classes that get one name become one.
    """

    layout: str
    table: str | None = None
    table_format: TableFormat = field(default_factory=lambda: TableFormat({}))
    split_by: str = "given"
    val_fraction: float = 0.2
    split_seed: int = 0
    person_pattern: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)


class OwnFacesDataModule(LabelledFacesDataModule):
    """Load own images, with any classes, with or without valence and arousal.

    Args:
        root: Folder of the data set.
        form: How the images are labelled and split.
        **loader: `augment`, and the arguments of ImageDataModule.

    Raises:
        AnnotationError: If labels or splits are malformed or cannot be learnt or scored; the message says what to do.
    """

    def __init__(self, root: str, form: OwnDataFormat, **loader: Any) -> None:
        super().__init__(root, **loader)
        self.form = form

    def read_faces(self) -> FaceTable:
        """Read labels and splits, and check that all of them can be learnt and scored."""
        if not self.root.is_dir():
            raise AnnotationError(f"there is no folder {self.root}; set data.root to the folder of the images")
        rows = self._read()
        rows["class"] = _renamed(self.root, rows["class"], self.form.rename)
        rows = self._split(rows)
        expressions = _expressions(self.root, rows)
        labels = {name: label for label, name in enumerate(expressions)}
        rows["expression"] = rows["class"].map({"": MISSING_EXPRESSION} | labels).astype(np.int64)
        dimensions = _dimensions(self.root, rows, needed=not expressions)
        return FaceTable(rows.drop(columns=["class", "person"]), expressions, dimensions)

    def _read(self) -> pd.DataFrame:
        form = self.form
        if form.layout == "table":
            rows = read_face_table(find_table(self.root, form.table), form.table_format)
        else:
            rows = read_class_folders(self.root)
            rows[["valence", "arousal"]] = np.nan
            rows[list(BOX)] = np.int32(0)
            if form.split_by != "person":
                rows["person"] = ""  # subfolders may mean anything
        if form.person_pattern is not None:
            rows["person"] = person_by_name(rows["path"], form.person_pattern, str(self.root))
        return rows

    def _split(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the training and the validation set."""
        form, given = self.form, set(rows["split"])
        if form.split_by == "given":
            return _given_split(self.root, rows)
        if others := given - {"", "train"}:
            left_out = rows["split"].isin(others)
            rank_zero_warn(
                f"{self.root}: {int(left_out.sum()):,} images of {' and '.join(sorted(others))} are not read, since "
                f"data.split_by={form.split_by} takes validation images from the training images"
            )
            rows = rows[~left_out].reset_index(drop=True)
        if rows.empty:
            raise AnnotationError(f"{self.root}: no training image")
        if form.split_by == "person" and (unknown := rows["path"][rows["person"] == ""]).size:
            raise AnnotationError(
                f"{self.root}: the person is unknown for {len(unknown):,} images, such as {some_of(unknown)}; set "
                "data.person_pattern to a regular expression that finds it in the file name, or give "
                + ("a column of people" if form.layout == "table" else "each person a subfolder of the class's folder")
                + "; data.split_by=file splits without regard to people"
            )
        groups = rows["person"] if form.split_by == "person" else rows["path"]
        try:
            held_out = hold_out(groups.tolist(), rows["class"].tolist(), form.val_fraction, form.split_seed)
        except HoldoutError as error:
            what = "people" if form.split_by == "person" else "images"
            raise AnnotationError(f"{self.root}: {error} ({what})") from error
        rows["split"] = np.where(held_out, "val", "train")
        return rows


def find_table(root: Path, name: str | None) -> Path:
    """Return the path of the table, by default the only CSV file of the folder.

    Raises:
        AnnotationError: If there are none or several.
    """
    if name is not None:
        return root / name
    tables = csv_files(root)
    if len(tables) != 1:
        found = f"has the tables {', '.join(tables)}" if tables else "has no CSV file"
        raise AnnotationError(f"{root} {found}; name one with data.table")
    return root / tables[0]


def find_own_layout(root: Path) -> str | None:
    """Return `folders` or `table` if a folder has only one of them; None if it has neither.

    Raises:
        AnnotationError: If it has both.
    """
    classes = root / next((path.name for path in root.iterdir() if SPLITS.get(path.name.lower()) == "train"), "")
    with_images = [path for path in sorted(classes.iterdir()) if path.is_dir() and _shows_images(path)]
    tables = csv_files(root)
    if len(with_images) > 1 and tables:
        raise AnnotationError(
            f"{root} has folders of images, such as {with_images[0].name}, and a table, {tables[0]}; say with "
            "data.layout=folders or data.layout=table which of them holds the labels"
        )
    return "folders" if len(with_images) > 1 else "table" if len(tables) == 1 else None


def _shows_images(folder: Path) -> bool:
    """Return whether images are in a folder or in a folder directly below it."""
    return any(has_image_suffix(path.name) for path in itertools.chain(folder.glob("*"), folder.glob("*/*")))


def csv_files(root: Path) -> list[str]:
    """List the CSV files directly in a folder."""
    return sorted(path.name for path in root.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")


def _given_split(root: Path, rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows["split"].value_counts()
    if "train" not in counts or not {"val", "test"} & set(counts.index):
        raise AnnotationError(
            f"{root} has no validation images beside training images (folders or values {', '.join(SPLITS)}); hold "
            "some out with data.split_by=person, or with data.split_by=file if every image shows another person"
        )
    scored = "val" if "val" in counts else "test"
    if scored == "test":
        rank_zero_warn(
            f"{root}: there is no validation part, and the test part takes its place: the best epoch is chosen on it, "
            "so that its scores are too high; data.split_by holds out training images instead"
        )
    elif "test" in counts:
        rank_zero_warn(f"{root}: {counts['test']:,} images of the test part are not read")
    rows = rows[rows["split"].isin(["train", scored])].reset_index(drop=True)
    rows["split"] = rows["split"].replace(scored, "val")
    known = rows[rows["person"] != ""]
    people = {split: known["person"][known["split"] == split] for split in ("train", "val")}
    warn_of_shared_videos(str(root), people, "people")
    return rows


def _renamed(root: Path, classes: pd.Series, rename: Mapping[str, str]) -> pd.Series:
    """Rename classes; refuse names that differ only in case, and those that no output can have."""
    found = [str(name) for name in classes.unique() if name]
    if unknown := [name for name in rename if name not in found]:
        raise AnnotationError(
            f"{root}: data.rename names {some_of(unknown)}, but the classes are {', '.join(sorted(found))}"
        )
    names = {name: rename.get(name, name) for name in found}
    alike: defaultdict[str, set[str]] = defaultdict(set)
    for name in names.values():
        alike[unicodedata.normalize("NFKC", name).casefold().strip()].add(name)
    for same in alike.values():
        if len(same) > 1:
            shown = " and ".join(sorted(map(repr, same)))
            first = sorted(same)
            raise AnnotationError(
                f"{root}: the classes {shown} differ in case or blanks only; give them one name, for instance "
                f"data.rename.{first[0]}={first[1]}"
            )
    reserved = {name.casefold() for name in VALENCE_AROUSAL}
    if odd := [name for name in names.values() if not name.isprintable() or not name or name.casefold() in reserved]:
        raise AnnotationError(f"{root}: a class cannot be named {odd[0]!a}; change the name with data.rename")
    return classes.map({"": ""} | names)


def _expressions(root: Path, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes in order: numbers by value, other names alphabetically."""
    found = {split: set(rows["class"][rows["split"] == split]) - {""} for split in ("train", "val")}
    if unseen := sorted(found["val"] - found["train"]):
        raise AnnotationError(
            f"{root}: validation images show {', '.join(unseen)}, of which there is no training image; the classes of "
            f"the training images are {', '.join(sorted(found['train'])) or 'none'}. Add some, remove these, or give "
            "the classes one name with data.rename"
        )
    if len(found["train"]) == 1:
        raise AnnotationError(f"{root}: all training images are of one class, {min(found['train'])}; two are needed")
    if found["train"] and not found["val"]:
        raise AnnotationError(f"{root}: no validation image has an expression, by which the best epoch is chosen")
    if unscored := sorted(found["train"] - found["val"]):
        rank_zero_warn(f"{root}: no validation image shows {', '.join(unscored)}; its F1 counts as 0")
    return tuple(sorted(found["train"], key=_order))


def _order(name: str) -> tuple[bool, int, str]:
    is_number = name.isascii() and name.isdigit()
    return not is_number, int(name) if is_number else 0, name


def _dimensions(root: Path, rows: pd.DataFrame, needed: bool) -> tuple[str, ...]:
    """Return which of valence and arousal are annotated, and check that they can be learnt."""
    annotated = []
    for name in VALENCE_AROUSAL:
        values = {split: rows[name.lower()][rows["split"] == split].dropna() for split in ("train", "val")}
        if not any(len(part) for part in values.values()):
            continue
        for split, use in (("train", "learnt"), *((("val", "scored"),) if needed else ())):
            if values[split].nunique() < 2:
                raise AnnotationError(
                    f"{root}: {name.lower()} has {values[split].nunique()} distinct values in the {split} part, and "
                    f"cannot be {use}; leave it out with data.columns.{name.lower()}=null"
                )
        annotated.append(name)
    if needed and not annotated:
        raise AnnotationError(f"{root}: no image has a label")
    return tuple(annotated)
