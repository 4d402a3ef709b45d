"""Rows of an ablation, written to a CSV file as they are computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from affect.storage.atomic_write import write_text


class AblationRows:
    """Rows of an ablation, written to a CSV file after each addition, so that a stop loses none.

    Args:
        path: The file.
        columns: Names of all columns that a row may have, in the file's order.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns
        self.rows: list[Mapping[str, Any]] = []

    def add(self, rows: Sequence[Mapping[str, Any]], write: bool = True) -> None:
        """Add rows; `write=False` leaves the file to another process."""
        self.rows += rows
        if write:
            write_text(self.path, self.table().to_csv(index=False))

    def table(self) -> pd.DataFrame:
        """Return the rows so far, without the columns that none has."""
        found = set().union(*self.rows)
        return pd.DataFrame(self.rows, columns=[column for column in self.columns if column in found])
