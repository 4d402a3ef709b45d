"""AffectNet's two layouts, listed for the check."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from affect.errors import UserError
from affect.labels import AFFECTNET_TO_BACKBONE, BACKBONE_EXPRESSIONS, MISSING_EXPRESSION
from affect.storage.image_suffixes import list_images
from affect.storage.text_file import Fault
from datamodules.affectnet import OFFICIAL_COUNTS
from datamodules.readers.affectnet import IMAGE_FOLDER, read_split
from experiments.check_data.listing import Listing, samples_of
from experiments.check_data.problems import Effect, Problem, from_faults

_TITLES: Final = {"csv": "AffectNet (csv layout)", "npy": "AffectNet (npy layout, 2021 release)"}
_FOLDERS: Final = {"train": "train_set", "val": "val_set"}


def list_affectnet_csv(root: Path) -> Listing:
    """List the faces of `training.csv` and `validation.csv`."""
    listing = _list_affectnet(root, "csv")
    if not (root / IMAGE_FOLDER).is_dir():
        listing.problems.append(Problem(Effect.STOPS, "the folder is missing", "", IMAGE_FOLDER))
    return listing


def list_affectnet_npy(root: Path) -> Listing:
    """List the faces of `train_set` and `val_set`, and the images without annotation."""
    listing = _list_affectnet(root, "npy")
    for split, folder in _FOLDERS.items():
        images = root / folder / "images"
        if not images.is_dir():
            continue
        names, others = list_images(images)
        annotated = {path.name.removesuffix("_exp.npy") for path in images.parent.glob("annotations/*_exp.npy")}
        kinds = {
            "an image without annotation": [name for name in names if Path(name).stem not in annotated],
            "an entry that is no image": others,
        }
        listing.problems += [
            Problem(Effect.NOTE, kind, split, f"{folder}/images/{name}")
            for kind, found in kinds.items()
            for name in found
        ]
    return listing


def _list_affectnet(root: Path, layout: str) -> Listing:
    problems: list[Problem] = []
    remarks: list[str] = []
    tables: list[pd.DataFrame] = [samples_of("train", [])]
    for split in _FOLDERS:
        faults: list[Fault] = []
        try:
            rows = read_split(root, layout, split, faults)
        except UserError as error:
            problems.append(Problem(Effect.STOPS, "the annotations cannot be read", split, str(error)))
            continue
        finally:
            problems += from_faults(faults, root, split)
        tables.append(rows[rows["usable"]].drop(columns="usable"))
        remarks += _left_out(split, rows)
    counts = {split: _in_backbone_order(split) for split in _FOLDERS}
    samples = pd.concat(tables, ignore_index=True)
    return Listing(_TITLES[layout], root, samples, BACKBONE_EXPRESSIONS, problems, counts, remarks)


def _left_out(split: str, rows: pd.DataFrame) -> list[str]:
    no_expression = rows["expression"] == MISSING_EXPRESSION
    no_box = ~rows["usable"] & ~no_expression
    reasons = {"expression (None, Uncertain, No-Face)": no_expression, "face box": no_box}
    return [f"{split}: {own.sum():,} rows without {what} are left out" for what, own in reasons.items() if own.any()]


def _in_backbone_order(split: str) -> list[int]:
    counts = np.zeros(len(BACKBONE_EXPRESSIONS), np.int64)
    for code, count in enumerate(OFFICIAL_COUNTS[split]):
        counts[AFFECTNET_TO_BACKBONE[code]] = count
    return counts.tolist()
