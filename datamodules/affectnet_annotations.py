"""AffectNet's two layouts, read into one table (Mollahosseini et al. 2017, arXiv 1708.03985).

(a) `Manually_Annotated_Images/<sub>/<file>` with `training.csv` and `validation.csv`;
(b) the 2021 release: `train_set/` and `val_set/`, each with `images/<id>.jpg` and `annotations/<id>_exp.npy`, `_val`,
    `_aro`.

The table has one row per usable face: `split` (train, val), `path` relative to the root, `left`, `top`, `width`,
`height` of the face box (0 width: whole image), `expression` (backbone order) and `valence`, `arousal` (NaN where
missing).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from affect.labels import AFFECTNET_CODES, AFFECTNET_TO_BACKBONE, MISSING_EXPRESSION
from datamodules.annotation_errors import AnnotationError, leaves_root, raise_for_problems

LAYOUTS: Final = ("csv", "npy")
IMAGE_FOLDER: Final = "Manually_Annotated_Images"
_COLUMNS: Final = [
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
]  # fmt: skip
_NUMBERS: Final = [*_COLUMNS[1:5], *_COLUMNS[6:]]
_CSV_FILES: Final = {"train": "training.csv", "val": "validation.csv"}
_NPY_FOLDERS: Final = {"train": "train_set", "val": "val_set"}
_NOT_ANNOTATED: Final = -2.0
_MAX_PIXELS: Final = 1e6
_NO_BOX: Final = ["NULL", ""]


def find_layout(root: str | Path, layout: str = "auto") -> str:
    """Find which layout a folder holds, `csv` (a) or `npy` (b).

    Raises:
        AnnotationError: If it holds neither, or not the one asked for; the message lists what was looked for.
    """
    root = Path(root)
    if layout not in ("auto", *LAYOUTS):
        raise AnnotationError(f"data.layout must be auto, csv or npy, not {layout!r}")
    if not root.is_dir():
        raise AnnotationError(
            f"there is no folder {root}; set data.root (or DATA=) to the folder of AffectNet"
        )
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

    Rows without an expression (None, Uncertain, No-Face) or without a valid face box are left out.

    Raises:
        AnnotationError: On a missing column or file, or malformed lines, all of them named.
    """
    reader = _read_csv if layout == "csv" else _read_npy
    names = _CSV_FILES if layout == "csv" else _NPY_FOLDERS
    tables = []
    for split, name in names.items():
        table = reader(Path(root), name)
        table.insert(0, "split", split)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _read_csv(root: Path, name: str) -> pd.DataFrame:
    path = root / name
    try:
        with path.open(encoding="utf-8-sig") as file:
            has_header = _COLUMNS[0] in file.readline()
        # Some copies of validation.csv come without a header line.
        raw = pd.read_csv(
            path, header=0 if has_header else None, names=None if has_header else _COLUMNS, dtype=str,
            keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False,
        )  # fmt: skip
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: {error}") from error
    absent = [column for column in _COLUMNS if column not in raw and column != "facial_landmarks"]
    if absent:
        raise AnnotationError(f"{path}: missing columns {absent}; it has {list(raw)}")
    lines = np.arange(len(raw)) + (2 if has_header else 1)
    present = (raw != "").any(axis=1).to_numpy()
    raw, lines = raw[present], lines[present]
    if raw.empty:
        raise AnnotationError(f"{path} holds no row")
    boxes = list(_COLUMNS[1:5])
    raw[boxes] = raw[boxes].replace(_NO_BOX, "-1")  # a row of the official training.csv says NULL
    numbers = raw[_NUMBERS].apply(pd.to_numeric, errors="coerce")
    names = raw[_COLUMNS[0]].str.replace("\\", "/", regex=False)
    problems: list[tuple[int, str]] = []

    def check(wrong: pd.Series, reason: str, column: str) -> None:
        rows = np.flatnonzero(wrong.to_numpy())
        problems.extend((int(lines[row]), f"{reason}: {column} is {raw[column].iloc[row]!r}") for row in rows)

    for column in _NUMBERS:
        check(numbers[column].isna(), "not a number", column)
    for column in _COLUMNS[1:5]:
        check(numbers[column].abs() > _MAX_PIXELS, "not a number of pixels", column)
    is_code = numbers["expression"].isin(range(len(AFFECTNET_CODES)))
    check(
        ~is_code & numbers["expression"].notna(), f"not a code 0 to {len(AFFECTNET_CODES) - 1}", "expression"
    )
    for column in ("valence", "arousal"):
        values = numbers[column]
        check(
            ~values.between(-1, 1) & (values != _NOT_ANNOTATED) & values.notna(),
            "neither in [-1, 1] nor -2",
            column,
        )
    check(names == "", "no image", _COLUMNS[0])
    check(names.map(leaves_root), "path leaves the image folder", _COLUMNS[0])
    raise_for_problems(path, problems)

    expression = AFFECTNET_TO_BACKBONE[numbers["expression"].to_numpy(np.int64)]
    # Its corner may lie outside the image: crops are clipped.
    has_box = (numbers[["face_width", "face_height"]] > 0).all(axis=1)
    table = pd.DataFrame({"path": IMAGE_FOLDER + "/" + names})
    for key, column in (("left", "x"), ("top", "y"), ("width", "width"), ("height", "height")):
        table[key] = numbers[f"face_{column}"].astype(np.int32)
    table["expression"] = expression
    for key in ("valence", "arousal"):
        table[key] = numbers[key].where(numbers[key] != _NOT_ANNOTATED).astype(np.float32)
    return table[(expression != MISSING_EXPRESSION) & has_box.to_numpy()].reset_index(drop=True)


def _read_npy(root: Path, name: str) -> pd.DataFrame:
    annotations, images = root / name / "annotations", root / name / "images"
    for folder in (annotations, images):
        if not folder.is_dir():
            raise AnnotationError(f"{folder} is missing; AffectNet's 2021 release has it")
    identifiers = sorted(
        (path.name.removesuffix("_exp.npy") for path in annotations.glob("*_exp.npy")), key=_by_number
    )
    if not identifiers:
        raise AnnotationError(f"{annotations} holds no <id>_exp.npy")
    problems: list[str] = []
    rows = []
    for identifier in identifiers:
        values = []
        for kind in ("exp", "val", "aro"):
            path = annotations / f"{identifier}_{kind}.npy"
            try:
                value = float(np.load(path, allow_pickle=False).item())
                _check_value(kind, value)
            except (OSError, ValueError, EOFError) as error:
                problems.append(f"{path}: {error}")
                value = np.nan
            values.append(value)
        rows.append((f"{name}/images/{identifier}.jpg", *values))
    if problems:
        more = f"\n... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise AnnotationError(f"{len(problems)} malformed annotations\n" + "\n".join(problems[:20]) + more)
    table = pd.DataFrame(rows, columns=["path", "expression", "valence", "arousal"])
    table["expression"] = AFFECTNET_TO_BACKBONE[table["expression"].to_numpy(np.int64)]
    for key in ("valence", "arousal"):
        table[key] = table[key].where(table[key] != _NOT_ANNOTATED).astype(np.float32)
    for position, key in enumerate(("left", "top", "width", "height")):
        table.insert(1 + position, key, np.int32(0))
    return table[table["expression"] != MISSING_EXPRESSION].reset_index(drop=True)


def _check_value(kind: str, value: float) -> None:
    if kind == "exp":
        if value not in range(len(AFFECTNET_CODES)):
            raise ValueError(f"{value:g} is not a code 0 to {len(AFFECTNET_CODES) - 1}")
    elif not -1 <= value <= 1 and value != _NOT_ANNOTATED:
        raise ValueError(f"{value:g} is neither in [-1, 1] nor -2")


def _by_number(identifier: str) -> tuple[int, str]:
    return (int(identifier) if identifier.isdigit() else -1, identifier)
