"""Own images that a table lists, read into one table.

A CSV file with a header: a column of paths, and any of expression, valence, arousal, face box, split and person; the
names of the columns are options.

The table has one row per line: `split` (train, val, test; empty where unknown), `path` relative to the root, `class`
(text; empty: missing), `valence`, `arousal` (NaN: missing), `left`, `top`, `width`, `height` (pixels; 0 without boxes)
and `person` (empty where unknown).
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from pytorch_lightning.utilities import rank_zero_warn

from affect.storage.csv_table import read_csv_text
from affect.storage.text_file import parse_numbers
from datamodules.readers.annotation_errors import AnnotationError, leaves_root, raise_for_problems, some_of
from datamodules.readers.class_folders import SPLITS

BOX: Final = ("left", "top", "width", "height")
WHOLE_IMAGE: Final = (0, 0, 100_000_000, 100_000_000)
"""Box of a face without one where others have one: crops are clipped to the image."""
_DIMENSIONS: Final = ("valence", "arousal")
_MIN_PIXELS: Final = 2
_MAX_PIXELS: Final = 1e6


@dataclass(frozen=True)
class TableFormat:
    """How a table is to be read.

    Attributes:
        columns: Name of each column in the file, by `path`, `expression`, `valence`, `arousal`, `left`, `top`, `width`,
            `height`, `split`, `person`; None: not to be used. One with its default name, the key, may be absent.
        images: Folder that the paths are relative to, relative to the root.
        missing: Texts that mean "not annotated", besides an empty field.
    """

    columns: Mapping[str, str | None]
    images: str = "."
    missing: Sequence[str] = ()


def read_face_table(path: Path, form: TableFormat) -> pd.DataFrame:
    """Read a table into the one described above; rows without any label are left out, with a warning.

    Raises:
        MissingFileError: If there is no such file.
        AnnotationError: If a column is absent, or lines are malformed; the message lists them.
    """
    text = read_csv_text(path, AnnotationError)
    used = _find_columns(path, text.columns, form.columns)
    fields = [[field.strip() for field in row.split(",")] for row in text.rows]
    texts = {key: [row[text.columns.index(name)] for row in fields] for key, name in used.items()}
    if not fields:
        raise AnnotationError(f"{path} holds no row")
    missing = {"", *form.missing}
    problems: list[tuple[int, str]] = []

    def check(wrong: np.ndarray, key: str, reason: str) -> None:
        problems.extend(
            (int(text.lines[row]), f"{used[key]} is {texts[key][row]!r}: {reason}") for row in np.flatnonzero(wrong)
        )

    names = [name.replace("\\", "/") for name in texts["path"]]
    check(np.array([not name for name in names]), "path", "no image")
    check(np.array([leaves_root(name) for name in names]), "path", "the path leaves the data set's folder")
    check(np.array([not name.isprintable() for name in names]), "path", "a character that cannot be printed")
    table = pd.DataFrame({"path": [posixpath.normpath(posixpath.join(form.images, name)) for name in names]})
    table["class"] = [("" if label in missing else label) for label in texts.get("expression", [""] * len(table))]
    for key in _DIMENSIONS:
        values = np.full(len(table), np.nan)
        if key in texts:
            values, known = _numbers(texts[key], missing)
            check(known & np.isnan(values), key, "not a number; data.missing lists what means not annotated")
            reason = "not in [-1, 1]; rescale the column, or list the mark of missing labels in data.missing"
            check(known & (np.abs(values) > 1), key, reason)
        table[key] = values
    has_box = np.zeros(len(table), bool)
    boxes = {key: np.zeros(len(table)) for key in BOX}
    if "left" in used:
        read = {key: _numbers(texts[key], missing) for key in BOX}
        has_box = np.any([known for _, known in read.values()], axis=0)
        for key, (values, known) in read.items():
            check(has_box & ~known, key, "half a face box: another part is there")
            check(known & ~(np.abs(values) <= _MAX_PIXELS), key, "not a number of pixels")
            if key in ("width", "height"):
                reason = f"less than {_MIN_PIXELS} pixels (face boxes are in pixels, not fractions of the image)"
                check(known & (values < _MIN_PIXELS), key, reason)
            boxes[key] = values
    table["split"] = [SPLITS.get(name.lower(), name) for name in texts.get("split", [""] * len(table))]
    if "split" in used:
        unknown = ~table["split"].isin(set(SPLITS.values())).to_numpy()
        check(unknown, "split", f"not one of {', '.join(SPLITS)}")
    table["person"] = texts.get("person", [""] * len(table))
    if "person" in used:
        check((table["person"] == "").to_numpy(), "person", "no person")
    raise_for_problems(path, problems)
    for position, key in enumerate(BOX):
        whole = WHOLE_IMAGE[position] if has_box.any() else 0
        table[key] = np.where(has_box, np.rint(boxes[key]), whole).astype(np.int32)
    table["class"] = _class_names(path, table["class"])
    labelled = (table["class"] != "") | table[list(_DIMENSIONS)].notna().any(axis=1)
    if not labelled.all():
        rank_zero_warn(
            f"{path}: {int((~labelled).sum()):,} rows have no label and are left out, such as "
            f"{some_of(table['path'][~labelled])}"
        )
    return table[labelled].reset_index(drop=True)


def _find_columns(path: Path, present: Sequence[str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return the columns that are there by key."""
    used = {key: name for key, name in wanted.items() if name is not None and name in present}
    renamed = {key: name for key, name in wanted.items() if name is not None and name != key and key not in used}
    if "path" not in used:
        renamed.setdefault("path", wanted["path"] or "path")
    if renamed:
        keys = ", ".join(f"{name} (data.columns.{key})" for key, name in renamed.items())
        raise AnnotationError(f"{path} has no column {keys}; it has {', '.join(present)}")
    if 0 < len(box := [key for key in BOX if key in used]) < len(BOX):
        lacking = ", ".join(f"data.columns.{key}" for key in BOX if key not in box)
        raise AnnotationError(f"{path} has a part of a face box, {', '.join(used[key] for key in box)}: set {lacking}")
    if not {"expression", *_DIMENSIONS} & set(used):
        raise AnnotationError(
            f"{path} has no label: set data.columns.expression, .valence or .arousal to one of {', '.join(present)}"
        )
    return used


def _numbers(texts: Sequence[str], missing: set[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, NaN where missing or malformed, and whether each is there."""
    values = parse_numbers(texts)
    marks = parse_numbers(sorted(missing))
    known = ~(np.array([text in missing for text in texts]) | np.isin(values, marks[~np.isnan(marks)]))
    return np.where(known, values, np.nan), known


def _class_names(path: Path, labels: pd.Series) -> pd.Series:
    """Write whole numbers without decimals: a table with missing codes often holds 3.0 for 3."""
    names = [str(name) for name in labels.unique() if name]
    numbers = parse_numbers(names)
    if not names or np.isnan(numbers).any():
        return labels
    if odd := [name for name, number in zip(names, numbers, strict=True) if number % 1 or not np.isfinite(number)]:
        raise AnnotationError(f"{path}: expressions are names or whole numbers, not {some_of(odd)}")
    if (numbers < 0).any():
        marks = [name for name, number in zip(names, numbers, strict=True) if number < 0]
        raise AnnotationError(
            f"{path}: the expression {some_of(marks)} is no code of a class; if it means not annotated, list it in "
            f"data.missing, for instance data.missing=[{', '.join(marks)}]"
        )
    return labels.map({"": ""} | {name: str(int(number)) for name, number in zip(names, numbers, strict=True)})
