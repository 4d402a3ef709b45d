"""Comma-separated text without quoting, the format of all annotation files and tables that are read here.

Quotation marks are refused: a stray one would merge all rows up to the next one, and give an image the labels of
another.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from affect.errors import InvalidFileError, UserError
from affect.storage.text_file import Fault, raise_or_collect, read_text


@dataclass(frozen=True)
class CsvText:
    """The lines of a table, each with as many fields as there are columns.

    Attributes:
        columns: Names of the columns, stripped and unique.
        rows: N lines, not split into fields.
        lines: Their 1-based line numbers in the file, shape (N,), int64.
    """

    columns: list[str]
    rows: list[str] = field(repr=False)
    lines: np.ndarray = field(repr=False)


def read_csv_text(
    path: str | Path,
    error: type[UserError] = InvalidFileError,
    first_column: str | None = None,
    default_columns: list[str] | None = None,
    faults: list[Fault] | None = None,
) -> CsvText:
    """Read a table and check its form; blank lines and lines of only commas are skipped.

    Args:
        path: The file, of UTF-8 text.
        error: Class of all errors except that for a missing file.
        first_column: A column that every header has; a first line without it is data with `default_columns`.
        default_columns: Columns of a file without a header.
        faults: List to which malformed lines are added, instead of an error; they are then left out.

    Raises:
        MissingFileError: If there is no such file.
        UserError: An `error`, if the file is not UTF-8 text, a column name is repeated, or a line holds a quotation
            mark or another number of fields; the message names the lines.
    """
    text = read_text(path, error)
    lines = text.split("\n")
    if '"' in text:
        marked = [number for number, line in enumerate(lines, 1) if '"' in line]
        reason = "holds a quotation mark; quoted fields are not supported: remove it"
        raise_or_collect(path, [(number, reason) for number in marked], error, faults)
        for number in marked:
            lines[number - 1] = ""
    del text
    first = next((number for number, line in enumerate(lines) if line.strip(", \t")), 0)
    columns = [name.strip() for name in lines[first].split(",")]
    where = f"{path}:{first + 1}"
    if len(columns) == 1 and (separator := next((mark for mark in ";\t|" if mark in columns[0]), "")):
        raise error(f"{where}: the fields are separated by {separator!r}; save the table with commas")
    has_header = first_column is None or default_columns is None or first_column in columns
    if not has_header and default_columns is not None:
        if first_column and first_column.casefold() in [name.casefold() for name in columns]:
            raise error(f"{where}: the header must spell {first_column!r} exactly so, in upper and lower case")
        columns = default_columns
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise error(f"{where}: the header names {', '.join(map(repr, twice))} more than once")
    first += has_header
    commas = np.fromiter((line.count(",") for line in lines), np.int64, len(lines))
    wrong = commas != len(columns) - 1
    kept = np.fromiter((bool(line.strip(", \t")) for line in lines), bool, len(lines))
    kept[:first] = False
    if (bad := np.flatnonzero(kept & wrong)).size:
        reason = "{} fields, expected {}"
        problems = [(int(row) + 1, reason.format(commas[row] + 1, len(columns))) for row in bad]
        raise_or_collect(path, problems, error, faults)
        kept &= ~wrong
    numbers = np.flatnonzero(kept)
    rows = lines if len(numbers) == len(lines) else [lines[number] for number in numbers]
    return CsvText(columns, rows, numbers + 1)
