"""AffectNet's two layouts, read into one table (Mollahosseini et al. 2017, arXiv 1708.03985).

(a) `Manually_Annotated_Images/<sub>/<file>` with `training.csv` and `validation.csv`;
(b) the 2021 release: `train_set/` and `val_set/`, each with `images/<id>.jpg` and `annotations/<id>_exp.npy`, `_val`,
    `_aro`.

The table has one row per usable face: `split` (train, val), `path` relative to the root, `left`, `top`, `width`,
`height` of the face box in whole pixels (rounded to the nearest; 0 width: whole image), `expression` (backbone order)
and `valence`, `arousal` (NaN where missing).
"""

import itertools
import operator
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from affect.errors import UserError
from affect.labels import AFFECTNET_CODES, AFFECTNET_TO_BACKBONE, BACKBONE_EXPRESSIONS, MISSING_EXPRESSION
from affect.storage.csv_table import read_csv_text
from affect.storage.npy_number import read_number
from affect.storage.text_file import Fault, parse_numbers
from datamodules.readers.annotation_errors import AnnotationError, leaves_root, raise_for_problems

LAYOUTS: Final = ("csv", "npy")
IMAGE_FOLDER: Final = "Manually_Annotated_Images"
_COLUMNS: Final = [
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
]  # fmt: skip
_BOX: Final = _COLUMNS[1:5]
_NUMBERS: Final = [*_BOX, *_COLUMNS[6:]]
_KINDS: Final = ("exp", "val", "aro")
_CSV_FILES: Final = {"train": "training.csv", "val": "validation.csv"}
_NPY_FOLDERS: Final = {"train": "train_set", "val": "val_set"}
_NOT_ANNOTATED: Final = -2.0
_MIN_PIXELS: Final = 2
_MAX_PIXELS: Final = 1e6
_NO_BOX: Final = ("NULL", "")


def find_layout(root: str | Path, layout: str = "auto") -> str:
    """Detect a folder's layout, `csv` (a) or `npy` (b).

    Raises:
        AnnotationError: If it has neither, or not the requested one; the message lists the expected files.
    """
    root = Path(root)
    if layout not in ("auto", *LAYOUTS):
        raise AnnotationError(f"data.layout must be auto, csv or npy, not {layout!r}")
    if not root.is_dir():
        raise AnnotationError(f"there is no folder {root}; set data.root to the folder of AffectNet")
    needed = {"csv": [*_CSV_FILES.values(), IMAGE_FOLDER], "npy": list(_NPY_FOLDERS.values())}
    for name in LAYOUTS if layout == "auto" else (layout,):
        if all((root / part).exists() for part in needed[name]):
            return name
    wanted = " or ".join(", ".join(needed[name]) for name in (LAYOUTS if layout == "auto" else (layout,)))
    found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
    raise AnnotationError(f"{root} does not hold AffectNet: expected {wanted}; it holds {found}")


def annotation_sources(root: Path, layout: str) -> Iterator[Path]:
    """Yield the files and folders whose change makes a cached table stale."""
    if layout == "csv":
        yield from (root / name for name in _CSV_FILES.values())
    else:
        yield from (root / name / "annotations" for name in _NPY_FOLDERS.values())


def read_annotations(root: str | Path, layout: str) -> pd.DataFrame:
    """Read all annotations of a folder into the table described above.

    Rows without an expression (None, Uncertain, No-Face) or without a valid face box are dropped.

    Raises:
        AnnotationError: If a column or file is missing, or lines are malformed; the message lists them.
    """
    tables = [read_split(root, layout, split) for split in _CSV_FILES]
    rows = pd.concat(tables, ignore_index=True)
    return rows[rows["usable"]].drop(columns="usable").reset_index(drop=True)


def read_split(root: str | Path, layout: str, split: str, faults: list[Fault] | None = None) -> pd.DataFrame:
    """Read the annotations of a split, `train` or `val`, into the table described above, with a column `usable`.

    Args:
        root: Folder of the data set.
        layout: `csv` or `npy`.
        split: `train` or `val`.
        faults: List to which malformed annotations are added, instead of an error; their rows are then left out.

    Returns:
        One row per face; not usable is one without an expression or without a valid face box.

    Raises:
        AnnotationError: As in `read_annotations`; with `faults` only if the split cannot be read at all.
    """
    reader, names = (_read_csv, _CSV_FILES) if layout == "csv" else (_read_npy, _NPY_FOLDERS)
    table = reader(Path(root), names[split], faults)
    table.insert(0, "split", split)
    return table


def _read_csv(root: Path, name: str, faults: list[Fault] | None) -> pd.DataFrame:
    path = root / name
    # Some copies of validation.csv come without a header line.
    text = read_csv_text(path, AnnotationError, _COLUMNS[0], _COLUMNS, faults)
    absent = [column for column in _COLUMNS if column not in text.columns and column != "facial_landmarks"]
    if absent:
        raise AnnotationError(f"{path}: missing columns {absent}; it has {text.columns}")
    if not text.rows:
        raise AnnotationError(f"{path} holds no row")
    pick = operator.itemgetter(*(text.columns.index(column) for column in (_COLUMNS[0], *_NUMBERS)))
    paths, *fields = zip(*(pick(line.split(",")) for line in text.rows), strict=True)
    texts = dict(zip(_NUMBERS, fields, strict=True))
    is_null = {column: np.array([field.strip() in _NO_BOX for field in texts[column]]) for column in _BOX}
    numbers = {column: parse_numbers(field) for column, field in texts.items()}
    for column in _BOX:  # a row of the official training.csv holds NULL
        numbers[column][is_null[column]] = -1
    problems: list[tuple[int, str]] = []

    def check(wrong: np.ndarray, reason: str, column: str) -> None:
        found = paths if column == _COLUMNS[0] else texts[column]
        problems.extend(
            (int(text.lines[row]), f"{reason}: {column} is {found[row]!r}") for row in np.flatnonzero(wrong)
        )

    for column in _NUMBERS:
        check(np.isnan(numbers[column]), "not a number", column)
    for column in _BOX:
        check(np.abs(numbers[column]) > _MAX_PIXELS, "not a number of pixels", column)
        any_null = np.any(list(is_null.values()), axis=0)
        check(any_null & ~is_null[column], "half a face box: another part is missing", column)
    for column in _BOX[2:]:
        # 1 is refused too: it is the width of a whole image where boxes are fractions.
        check(
            (numbers[column] > 0) & (numbers[column] < _MIN_PIXELS),
            f"less than {_MIN_PIXELS} pixels (face boxes are in pixels, not fractions of the image)",
            column,
        )
    codes = numbers["expression"]
    sides = [numbers[column] > 0 for column in _BOX[2:]]
    for side, other, column in zip(sides, reversed(sides), _BOX[2:], strict=True):
        half = other & ~side & ~is_null[column] & ~np.isnan(numbers[column]) & (codes < len(BACKBONE_EXPRESSIONS))
        check(half, "half a face box: the other side is positive", column)
    check(
        ~np.isin(codes, range(len(AFFECTNET_CODES))) & ~np.isnan(codes),
        f"not a code 0 to {len(AFFECTNET_CODES) - 1}",
        "expression",
    )
    for column in ("valence", "arousal"):
        values = numbers[column]
        check(
            ~((np.abs(values) <= 1) | (values == _NOT_ANNOTATED) | np.isnan(values)),
            "neither in [-1, 1] nor -2",
            column,
        )
    names = [path.strip(" \t").replace("\\", "/") for path in paths]
    check(np.array([not name for name in names]), "no image", _COLUMNS[0])
    check(np.array([leaves_root(name) for name in names]), "path leaves the image folder", _COLUMNS[0])
    check(np.array([not name.isprintable() for name in names]), "unprintable character", _COLUMNS[0])
    raise_for_problems(path, problems, faults)
    sound = ~np.isin(text.lines, [line for line, _ in problems])
    names = list(itertools.compress(names, sound))
    numbers = {column: values[sound] for column, values in numbers.items()}

    expression = AFFECTNET_TO_BACKBONE[numbers["expression"].astype(np.int64)]
    # Its corner may lie outside the image: crops are clipped.
    has_box = (numbers["face_width"] > 0) & (numbers["face_height"] > 0)
    table = pd.DataFrame({"path": [posixpath.normpath(f"{IMAGE_FOLDER}/{name}") for name in names]})
    for key, column in zip(("left", "top", "width", "height"), _BOX, strict=True):
        table[key] = np.rint(numbers[column]).astype(np.int32)
    table["expression"] = expression
    for key in ("valence", "arousal"):
        values = numbers[key]
        table[key] = np.where(values == _NOT_ANNOTATED, np.nan, values).astype(np.float32)
    table["usable"] = (expression != MISSING_EXPRESSION) & has_box
    return table


def _read_npy(root: Path, name: str, faults: list[Fault] | None) -> pd.DataFrame:
    annotations, images = root / name / "annotations", root / name / "images"
    for folder in (annotations, images):
        if not folder.is_dir():
            raise AnnotationError(f"{folder} is missing; AffectNet's 2021 release has it")
    # Hidden files, such as macOS's `._1_exp.npy`, are not data.
    entries = [path.name for path in annotations.iterdir() if not path.name.startswith(".")]
    identifiers = sorted(
        {entry.removesuffix(f"_{kind}.npy") for kind in _KINDS for entry in entries if entry.endswith(f"_{kind}.npy")},
        key=_by_number,
    )  # fmt: skip
    if not identifiers:
        raise AnnotationError(f"{annotations} holds no <id>_exp.npy")
    problems: list[Fault] = []
    rows = []
    for identifier in identifiers:
        values = []
        for kind in _KINDS:
            path = annotations / f"{identifier}_{kind}.npy"
            reason: str | None
            try:
                value = read_number(path, AnnotationError)
                reason = _value_fault(kind, value)
            except UserError as error:
                reason = str(error).removeprefix(f"{path}: ")
            if reason:
                problems.append(Fault(str(path), 0, reason))
            else:
                values.append(value)
        if len(values) == len(_KINDS):
            rows.append((f"{name}/images/{identifier}.jpg", *values))
    if faults is not None:
        faults += problems
    elif problems:
        shown = "".join(f"\n{problem.file}: {problem.reason}" for problem in problems[:20])
        more = f"\n... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise AnnotationError(f"{len(problems)} malformed annotations{shown}{more}")
    table = pd.DataFrame(rows, columns=["path", "expression", "valence", "arousal"])
    table["expression"] = AFFECTNET_TO_BACKBONE[table["expression"].to_numpy(np.int64)]
    for key in ("valence", "arousal"):
        table[key] = table[key].where(table[key] != _NOT_ANNOTATED).astype(np.float32)
    for position, key in enumerate(("left", "top", "width", "height")):
        table.insert(1 + position, key, np.int32(0))
    table["usable"] = table["expression"] != MISSING_EXPRESSION
    return table


def _value_fault(kind: str, value: float) -> str | None:
    if kind == "exp":
        if value not in range(len(AFFECTNET_CODES)):
            return f"'{value:g}' is not a code 0 to {len(AFFECTNET_CODES) - 1}"
    elif not -1 <= value <= 1 and value != _NOT_ANNOTATED:
        return f"'{value:g}' is neither in [-1, 1] nor -2"
    return None


def _by_number(identifier: str) -> tuple[int, str]:
    return (int(identifier) if identifier.isascii() and identifier.isdigit() else -1, identifier)
