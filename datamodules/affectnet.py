"""AffectNet for multi-task pretraining: expression, valence and arousal of one face per image."""

from typing import Any, Final

from affect.labels import BACKBONE_EXPRESSIONS
from affect.storage.fingerprint import source_states, states_digest
from datamodules.index_cache import cached_table
from datamodules.labelled_faces import FaceTable, LabelledFacesDataModule
from datamodules.readers.affectnet import annotation_sources, find_layout, read_annotations

OFFICIAL_COUNTS: Final = {
    "train": (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750),
    "val": (500, 500, 500, 500, 500, 500, 500, 500),
}
"""Usable faces per code 0 to 7 of the manually annotated set (arXiv 1708.03985, table 3)."""
OFFICIAL_SIZES: Final = {split: sum(counts) for split, counts in OFFICIAL_COUNTS.items()}
"""Usable faces of the manually annotated set (arXiv 2207.09508, section 3.1)."""


class AffectNetDataModule(LabelledFacesDataModule):
    """Load AffectNet in either of its layouts.

    Args:
        root: Folder of the data set.
        layout: `csv`, `npy`, or `auto` to detect it.
        cache_dir: Folder of the annotation cache.
        **loader: `augment`, and the arguments of ImageDataModule.

    Attributes:
        fingerprint: Digest of the annotation files' states, by which the index cache notices changes.

    Raises:
        AnnotationError: If the folder is not AffectNet, its annotations are malformed, or an image is in both splits.
    """

    def __init__(self, root: str, layout: str = "auto", cache_dir: str = ".cache/index", **loader: Any) -> None:
        super().__init__(root, **loader)
        self.layout = layout
        self.cache_dir = cache_dir
        self.fingerprint = ""

    def prepare_data(self) -> None:
        """Read the annotations once per host, so that all processes read them from the cache."""
        if not self.datasets:
            self.read_faces()

    @property
    def is_official(self) -> bool:
        """Whether the set has the official size, to which published values refer."""
        return {split: len(dataset) for split, dataset in self.datasets.items()} == OFFICIAL_SIZES

    def read_faces(self) -> FaceTable:
        """Read the annotations, from the cache if they have not changed."""
        layout = find_layout(self.root, self.layout)
        self.fingerprint = states_digest(source_states(annotation_sources(self.root, layout), self.root))
        key = f"affectnet {layout} {self.root.resolve()}"
        rows = cached_table(self.cache_dir, key, self.fingerprint, lambda: read_annotations(self.root, layout))
        # Ids of the npy layout are numbers of their own in each split, so that copies have other paths.
        return FaceTable(rows, BACKBONE_EXPRESSIONS, compare_content=layout == "npy")
