"""AffectNet for multi-task pretraining: expression, valence and arousal of one face per image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from affect.labels import BACKBONE_EXPRESSIONS
from affect.storage.fingerprint import source_states, states_digest
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset
from datamodules.index_cache import cached_table
from datamodules.readers.affectnet import annotation_sources, find_layout, read_annotations
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.split_overlap import refuse_shared_images, warn_of_copies, warn_of_repeats

OFFICIAL_SIZES: Final = {"train": 287_651, "val": 4_000}
"""Usable faces of the manually annotated set (arXiv 2207.09508, section 3.1)."""


class AffectNetDataModule(ImageDataModule):
    """Load AffectNet in either of its layouts.

    Args:
        root: Folder of the data set.
        layout: `csv`, `npy`, or `auto` to detect it.
        cache_dir: Folder of the annotation cache.
        **loader: The arguments of ImageDataModule.

    Attributes:
        expressions: Names of the expression labels, in order.
        index: One row per usable face, after `setup` (columns: see datamodules.readers.affectnet).
        fingerprint: Digest of the annotation files' states, by which the index cache notices changes.

    Raises:
        AnnotationError: If the folder is not AffectNet, its annotations are malformed, or an image is in both splits.
    """

    expressions: Sequence[str] = BACKBONE_EXPRESSIONS

    def __init__(self, root: str, layout: str = "auto", cache_dir: str = ".cache/index", **loader: Any) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.layout = layout
        self.cache_dir = cache_dir
        self.index = pd.DataFrame()
        self.fingerprint = ""

    def prepare_data(self) -> None:
        """Read the annotations once per host, so that all processes read them from the cache."""
        if not self.datasets:
            self._read_index()

    def setup(self, stage: str | None = None) -> None:
        """Build the training and validation sets."""
        if self.datasets:
            return
        self.index = self._read_index()
        check_overlap(self.root, self.index)
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
                on_corrupt=self.on_corrupt,
            )

    @property
    def is_official(self) -> bool:
        """Whether the set has the official size, to which published values refer."""
        return {split: len(dataset) for split, dataset in self.datasets.items()} == OFFICIAL_SIZES

    def class_counts(self) -> list[int]:
        """Count the training faces of each expression, in label order."""
        labels = self.datasets["train"].labels["expression"]
        return np.bincount(labels, minlength=len(self.expressions)).tolist()

    def _read_index(self) -> pd.DataFrame:
        layout = find_layout(self.root, self.layout)
        self.fingerprint = states_digest(source_states(annotation_sources(self.root, layout), self.root))
        key = f"affectnet {layout} {self.root.resolve()}"
        return cached_table(self.cache_dir, key, self.fingerprint, lambda: read_annotations(self.root, layout))


def check_overlap(root: Path, index: pd.DataFrame) -> None:
    """Warn of faces that are listed twice in a split, and reject paths that are in both.

    Images of the npy layout whose ids are equal are compared by content; copies give a warning.

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
    if not index["width"].any():  # the npy layout: ids are numbers of their own in each split
        keys = index["path"].str.rpartition("/")[2]
        warn_of_copies(
            str(root),
            pd.DataFrame({
                "path": f"{root}/" + index["path"], "split": index["split"], "key": keys, "label": index["expression"]
            }),
        )  # fmt: skip
