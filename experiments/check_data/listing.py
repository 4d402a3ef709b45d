"""What a data set lists, whatever its layout: one row per labelled image, and what is wrong with the lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from affect.labels import MISSING_EXPRESSION
from experiments.check_data.problems import Problem

BOX: Final = ["left", "top", "width", "height"]
SPLITS: Final = ("train", "val", "test")


@dataclass
class Listing:
    """The content of a data set's lists.

    Attributes:
        title: Name of the set and its layout.
        root: The set's folder, which paths are relative to.
        samples: One row per listed sample with the columns `split` (train, val, test, or empty where there are none),
            `path`, `expression` (an index into `classes`, -1 is missing), and, as the set has them, `left`, `top`,
            `width`, `height` of the face box in pixels as stored, `video`, `valence`, `arousal` and a column for each
            action unit (NaN is missing).
        classes: Names of the expressions.
        problems: What is wrong with the lists.
        published: Published numbers of samples by split: per expression, or in all (one number).
        remarks: Lines for the report about what the lists hold besides the samples.
    """

    title: str
    root: Path
    samples: pd.DataFrame
    classes: Sequence[str]
    problems: list[Problem] = field(default_factory=list)
    published: Mapping[str, Sequence[int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def label_columns(self) -> list[str]:
        """Columns of `samples` that hold labels."""
        return [name for name in self.samples.columns if name not in ("split", "path", "video", *BOX)]

    @property
    def splits(self) -> list[str]:
        """Splits in their usual order: those that have samples, and of a labelled set always train and val."""
        present = {*self.samples["split"], *(SPLITS[:2] if self.classes else ())}
        return [split for split in ("", *SPLITS) if split in present]

    def class_counts(self, split: str) -> list[int]:
        """Count a split's samples of each expression."""
        expression = self.samples.loc[self.samples["split"] == split, "expression"].to_numpy(np.int64)
        labelled = expression[expression != MISSING_EXPRESSION]
        return np.bincount(labelled, minlength=len(self.classes)).tolist()


def samples_of(split: str, paths: Sequence[str], **columns: object) -> pd.DataFrame:
    """Build the rows of a split; without a column `expression`, no expression is known."""
    table = pd.DataFrame({"split": split, "path": np.asarray(paths, dtype=object), **columns})
    if "expression" not in table:
        table["expression"] = MISSING_EXPRESSION
    return table.astype({"split": object, "path": object, "expression": np.int64})
