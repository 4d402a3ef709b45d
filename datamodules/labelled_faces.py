"""Base class of the DataModules of stage 1: faces with an expression, valence and arousal, or some of these."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from affect.labels import VALENCE_AROUSAL
from datamodules.augmentation import SeededPipeline
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.split_overlap import refuse_shared_images, warn_of_copies, warn_of_repeats


@dataclass(frozen=True)
class FaceTable:
    """The faces of a set, with their labels.

    Attributes:
        rows: One row per face: `split` (train, val), `path` relative to the root, `left`, `top`, `width`, `height` of
            the face box in pixels as stored (all widths 0: whole images), `expression` (-1: missing), `valence`,
            `arousal` (NaN: missing).
        expressions: Names of the expression labels, in order; empty if there are none.
        dimensions: Which of valence and arousal are annotated, in this order.
        compare_content: Whether the same image may be there under two paths, so that files of one name are compared.
    """

    rows: pd.DataFrame = field(repr=False)
    expressions: Sequence[str]
    dimensions: Sequence[str] = VALENCE_AROUSAL
    compare_content: bool = True


class LabelledFacesDataModule(ImageDataModule, ABC):
    """Load the faces of a table.

    Args:
        root: Folder of the data set.
        augment: Changes each training image at random; None leaves them as they are.
        **loader: The arguments of ImageDataModule.

    Attributes:
        expressions: Names of the expression labels, in order, after `setup`.
        dimensions: Which of valence and arousal are annotated.
        index: One row per usable face, after `setup` (columns: see FaceTable).
        is_official: Whether this is the set to which published values refer.

    Raises:
        AnnotationError: If the annotations are malformed, or an image is in both splits.
    """

    def __init__(self, root: str, augment: SeededPipeline | None = None, **loader: Any) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.augment = augment
        self.expressions: Sequence[str] = ()
        self.dimensions: Sequence[str] = ()
        self.index = pd.DataFrame()

    @abstractmethod
    def read_faces(self) -> FaceTable:
        """Read the annotations."""

    @property
    def is_official(self) -> bool:
        """Whether this is the set to which published values refer."""
        return False

    def setup(self, stage: str | None = None) -> None:
        """Build the training and validation sets."""
        if self.datasets:
            return
        table = self.read_faces()
        self.index, self.expressions, self.dimensions = table.rows, table.expressions, table.dimensions
        check_overlap(self.root, self.index, table.compare_content)
        for split in ("train", "val"):
            rows = self.index[self.index["split"] == split]
            if rows.empty:
                raise AnnotationError(f"{self.root}: no usable face in the {split} part")
            boxes = rows[["left", "top", "width", "height"]].to_numpy(np.int32)
            self.datasets[split] = ImageDataset(
                root=self.root,
                paths=rows["path"].tolist(),
                size=self.image_size,
                labels={
                    "expression": rows["expression"].to_numpy(np.int64),
                    "valence_arousal": rows[["valence", "arousal"]].to_numpy(np.float32),
                },
                boxes=boxes if boxes[:, 2].any() else None,
                augment=self.augment if split == "train" else None,
                on_corrupt=self.on_corrupt,
            )

    def class_counts(self) -> list[int]:
        """Count the training faces of each expression, in label order."""
        labels = self.datasets["train"].labels["expression"]
        return np.bincount(labels[labels >= 0], minlength=len(self.expressions)).tolist()


def check_overlap(root: Path, index: pd.DataFrame, compare_content: bool) -> None:
    """Warn of faces that are listed twice in a split, and reject paths that are in both.

    Args:
        root: Folder of the data set.
        index: Its faces (columns: see FaceTable).
        compare_content: Compare the content of files of one name, and warn of copies.

    Raises:
        AnnotationError: If a path is in both splits.
    """
    box = ["left", "top", "width", "height"]
    parts = {split: index[index["split"] == split] for split in ("train", "val")}
    for split, rows in parts.items():
        # A photo of two people is listed twice, with two boxes.
        repeated = rows[rows.duplicated(["path", *box], keep=False)]
        faces = [f"{path} (box {rest})" for path, *rest in repeated[["path", *box]].itertuples(index=False)]
        labels = repeated[["expression", "valence", "arousal"]].to_numpy(np.float64)
        warn_of_repeats(f"{root} ({split})", faces, labels)
    refuse_shared_images(str(root), {split: rows["path"].tolist() for split, rows in parts.items()})
    if compare_content:
        keys = index["path"].str.rpartition("/")[2]
        warn_of_copies(
            str(root),
            pd.DataFrame({
                "path": f"{root}/" + index["path"], "split": index["split"], "key": keys, "label": index["expression"]
            }),
        )  # fmt: skip
