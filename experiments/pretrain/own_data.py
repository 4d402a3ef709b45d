"""Options of own data, and the choice of the DataModule by the layout of a folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from datamodules.affectnet import AffectNetDataModule
from datamodules.augmentation import FaceAugmentation
from datamodules.labelled_faces import LabelledFacesDataModule
from datamodules.own_faces import OWN_LAYOUTS, SPLIT_BY, OwnDataFormat, OwnFacesDataModule, find_own_layout
from datamodules.readers.affectnet import find_layout
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.readers.class_folders import check_pattern
from datamodules.readers.face_table import TableFormat
from experiments.runtime.config.load import LoaderConfig
from experiments.runtime.config.options import ConfigError, option


@dataclass
class ColumnsConfig:
    """Names of the columns of a table; null: not to be used. One with its default name may be absent."""

    path: str | None = option("path", "column of the images' paths")
    expression: str | None = option("expression", "column of the expressions, names or codes")
    valence: str | None = option("valence", "column of valence, numbers in [-1, 1]")
    arousal: str | None = option("arousal", "column of arousal, numbers in [-1, 1]")
    left: str | None = option("left", "column of the face box's left side, in pixels")
    top: str | None = option("top", "column of the face box's upper side, in pixels")
    width: str | None = option("width", "column of the face box's width, in pixels")
    height: str | None = option("height", "column of the face box's height, in pixels")
    split: str | None = option("split", "column of the split: train, val or test")
    person: str | None = option("person", "column of the person who is shown")


@dataclass
class OwnDataConfig(LoaderConfig):
    """Own data: images in a folder per class, or listed by a table (docs/own_data.md)."""

    split_by: str = option(
        "given",
        "for own data, where validation images come from: given, or held out from the training images by person or "
        "by file",
        choices=SPLIT_BY,
    )
    val_fraction: float = option(0.2, "share of the images that split_by holds out", gt=0, lt=1)
    split_seed: int = option(
        0, "seed of what split_by holds out; the run's seed does not change it", ge=0, le=2**32 - 1
    )
    person_pattern: str | None = option(
        None,
        "regular expression that finds the person at the start of an image's name (its first group, if it has one); "
        "null: the table's column, or the directory within the class's",
    )
    rename: dict[str, str] = option({}, "other names of classes, by the name in the data; equal names merge classes")
    table: str | None = option(None, "CSV file of layout table, below root; null: the only one there", path=True)
    images: str = option(".", "folder that the table's paths are relative to, below root", path=True)
    missing: list[str] = option([], "texts in the table that mean not annotated, besides an empty field")
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)

    def __post_init__(self) -> None:
        if self.person_pattern is not None and (reason := check_pattern(self.person_pattern)):
            raise ConfigError(f"data.person_pattern={self.person_pattern} is no regular expression: {reason}")


def build_data(
    config: OwnDataConfig, mean: Sequence[float], std: Sequence[float], seed: int
) -> LabelledFacesDataModule:
    """Build the DataModule of AffectNet or of own data.

    Args:
        config: Options of the data; beside those of own data `root`, `layout`, `cache_dir`, `augment` and those of the
            loader.
        mean: Channel means for normalisation.
        std: Channel standard deviations.
        seed: Seed of the order of training samples.

    Raises:
        AnnotationError: If the folder has no known layout, or several.
    """
    options: dict[str, Any] = asdict(config) | {"mean": mean, "std": std, "seed": seed}
    strengths = options.pop("augment")
    options["augment"] = FaceAugmentation(options["image_size"], **strengths) if any(strengths.values()) else None
    own = {entry.name: options.pop(entry.name) for entry in fields(OwnDataConfig) if entry.name not in _LOADER}
    root, layout, cache_dir = (options.pop(name) for name in ("root", "layout", "cache_dir"))
    layout = choose_layout(Path(root), layout)
    if layout not in OWN_LAYOUTS:
        return AffectNetDataModule(root, layout, cache_dir, **options)
    form = TableFormat(own.pop("columns"), own.pop("images"), own.pop("missing"))
    return OwnFacesDataModule(root, OwnDataFormat(layout, table_format=form, **own), **options)


_LOADER = {entry.name for entry in fields(LoaderConfig)}


def choose_layout(root: Path, layout: str) -> str:
    """Return the layout of a folder, AffectNet's if it has it.

    Raises:
        AnnotationError: If `auto` finds none, or it is ambiguous.
    """
    if layout != "auto" or not root.is_dir():
        return layout
    try:
        return find_layout(root)
    except AnnotationError as error:
        if found := find_own_layout(root):
            return found
        raise AnnotationError(
            f"{error}. It is no set of your own either, with a folder of images per class or a single CSV file; "
            "docs/own_data.md describes these"
        ) from error
