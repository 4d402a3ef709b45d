"""Readers of s-Aff-Wild2's annotation and test lists (ABAW-4; Kollias 2022, arXiv 2207.01138).

Only here are the file's sentinels (-5, -1) converted to NaN and -1.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from affect.frame_names import name_fault, video_of
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, MISSING_EXPRESSION
from affect.storage.text_file import Fault, parse_numbers, read_text
from datamodules.readers.annotation_errors import AnnotationError, raise_for_problems

MISSING_VALENCE_AROUSAL: Final = -5.0
MISSING_CODE: Final = -1.0
COLUMNS: Final = ("valence", "arousal", "expression", *ACTION_UNITS)


@dataclass(frozen=True)
class AnnotationReport:
    """Counts of a file's content.

    Attributes:
        rows: Lines of data.
        labelled: Rows with at least one label, which are kept.
        videos: Different videos among the kept rows.
        duplicates: Kept rows whose image is also on an earlier kept row.
        valence_arousal: Kept rows with both values.
        expression: Kept rows with an expression.
        action_units: Kept rows with at least one action unit.
        partial: Kept rows with only some of valence/arousal or of the action units.
        expression_counts: Kept rows per expression code.
    """

    rows: int
    labelled: int
    videos: int
    duplicates: int
    valence_arousal: int
    expression: int
    action_units: int
    partial: int
    expression_counts: tuple[int, ...]

    def summary(self) -> str:
        """Return the counts as one line."""
        return (
            f"{self.rows} rows of {self.videos} videos, {self.rows - self.labelled} without any label dropped, "
            f"{self.duplicates} duplicates kept; valence/arousal {self.valence_arousal}, "
            f"expression {self.expression}, action units {self.action_units}"
            + (f", {self.partial} partly labelled" if self.partial else "")
        )


@dataclass(frozen=True)
class Annotations:
    """The labelled rows of a file, in file order.

    Attributes:
        name: Image ids `video/00001.jpg`, N strings; duplicates stay.
        expression: Indices into AFFWILD2_EXPRESSIONS, shape (N,), int64; -1 is missing.
        valence_arousal: Shape (N, 2), float32 in [-1, 1]; NaN is missing.
        action_units: Shape (N, 12), float32 in {0, 1}; NaN is missing.
        report: Counts of the file's rows and labels.
    """

    name: list[str]
    expression: np.ndarray = field(repr=False)
    valence_arousal: np.ndarray = field(repr=False)
    action_units: np.ndarray = field(repr=False)
    report: AnnotationReport

    def __len__(self) -> int:
        return len(self.name)

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """Labels by batch key."""
        return {
            "expression": self.expression,
            "valence_arousal": self.valence_arousal,
            "action_units": self.action_units,
        }


def read_annotations(path: str | Path, faults: list[Fault] | None = None) -> Annotations:
    """Read a training or validation list: a header line, then `video/00001.jpg` and 15 values per line.

    The header is skipped by position, since its five names do not match the 16 values. Trailing commas, CRLF, blank
    lines and a byte-order mark are accepted. Rows without any label are dropped and counted; duplicates are kept.

    Args:
        path: The file.
        faults: List to which malformed lines are added, instead of an error; they are then left out.

    Raises:
        AnnotationError: If there is no such file, or any line is malformed; the message names file,
            line and reason of the first twenty.
    """
    path = Path(path)
    rows, problems = _read_rows(path, width=1 + len(COLUMNS))
    names = [row[0] for _, row in rows]
    values = _numbers([row[1:] for _, row in rows])
    lines = np.array([line for line, _ in rows], dtype=np.int64)
    sound = np.ones(len(rows), bool)
    for fault, wrong in _value_faults(values):
        sound &= ~wrong
        for position in np.flatnonzero(wrong):
            row = dict(zip(COLUMNS, rows[position][1][1:], strict=True))
            problems.append((int(lines[position]), fault.format(**row)))
    raise_for_problems(path, problems, faults)
    return _annotations(list(itertools.compress(names, sound)), values[sound])


def read_test_list(path: str | Path, faults: list[Fault] | None = None) -> list[str]:
    """Read the image ids of a test list, in order, duplicates included: a header line, then one image per line.

    Trailing commas (the later edition has them), CRLF, blank lines and a byte-order mark are accepted.

    Args:
        path: The file.
        faults: As in `read_annotations`.

    Raises:
        AnnotationError: If there is no such file, or any line is malformed.
    """
    path = Path(path)
    rows, problems = _read_rows(path, width=1)
    raise_for_problems(path, problems, faults)
    return [row[0] for _, row in rows]


def _read_rows(path: Path, width: int) -> tuple[list[tuple[int, list[str]]], list[tuple[int, str]]]:
    """Split the lines after the header at commas; return valid rows and problems, each with its line number."""
    if not path.exists():
        raise AnnotationError(f"no annotation file at {path}; data.root must be the folder that holds the lists")
    lines = read_text(path, AnnotationError).split("\n")
    rows: list[tuple[int, list[str]]] = []
    problems: list[tuple[int, str]] = []
    if name_fault(lines[0].split(",")[0].strip()) is None:
        problems.append((1, "an image instead of the header line; restore the header"))
    for number, line in enumerate(lines[1:], 2):
        if not line or line.isspace():
            continue
        row = line.strip().split(",")
        while len(row) > width and not row[-1].strip():
            row.pop()
        row[0] = row[0].strip()
        if '"' in line:
            problems.append((number, "holds a quotation mark; fields are not quoted here"))
        elif len(row) != width:
            problems.append((number, f"{len(row)} values, expected {width}"))
        elif fault := name_fault(row[0]):
            problems.append((number, fault))
        else:
            rows.append((number, row))
    if not rows and not problems:
        problems.append((1, "no rows; expected a header line and then one line per image"))
    return rows, problems


def _numbers(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Parse texts into float64, shape (N, 15); NaN for what is not a number."""
    values = np.empty((len(texts), len(COLUMNS)))
    for column, column_texts in enumerate(zip(*texts, strict=True)):
        values[:, column] = parse_numbers(column_texts)
    return values


def _value_faults(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a reason, with the column's text to be filled in, and a mask of the rows that have the fault."""
    for column, name in enumerate(COLUMNS):
        value = values[:, column]
        if name in ("valence", "arousal"):
            sound = (np.abs(value) <= 1) | (value == MISSING_VALENCE_AROUSAL)
            expected = "a number from -1 to 1, or -5 for missing"
        else:
            codes = len(AFFWILD2_EXPRESSIONS) if name == "expression" else 2
            sound = np.isin(value, (MISSING_CODE, *range(codes)))
            expected = f"a whole number from 0 to {codes - 1}, or -1 for missing"
        yield f"{name} is {{{name}!r}}, expected {expected}", ~sound


def _annotations(names: Sequence[str], values: np.ndarray) -> Annotations:
    valence_arousal = np.where(values[:, :2] == MISSING_VALENCE_AROUSAL, np.nan, values[:, :2])
    action_units = np.where(values[:, 3:] == MISSING_CODE, np.nan, values[:, 3:])
    expression = values[:, 2].astype(np.int64)  # the file's -1 is the contract's
    has_values, has_units = ~np.isnan(valence_arousal), ~np.isnan(action_units)
    kept = has_values.any(1) | has_units.any(1) | (expression != MISSING_EXPRESSION)
    name = list(itertools.compress(names, kept))
    partial = (has_values.any(1) & ~has_values.all(1)) | (has_units.any(1) & ~has_units.all(1))
    report = AnnotationReport(
        rows=len(names),
        labelled=len(name),
        videos=len({video_of(image) for image in name}),
        duplicates=len(name) - len(set(name)),
        valence_arousal=int(has_values.all(1).sum()),
        expression=int((expression != MISSING_EXPRESSION).sum()),
        action_units=int(has_units.any(1).sum()),
        partial=int(partial.sum()),
        expression_counts=tuple(np.bincount(expression[expression >= 0], minlength=len(AFFWILD2_EXPRESSIONS)).tolist()),
    )
    return Annotations(
        name=name,
        expression=expression[kept],
        valence_arousal=valence_arousal[kept].astype(np.float32),
        action_units=action_units[kept].astype(np.float32),
        report=report,
    )
