"""VGGFace2, faces in one folder per person, with optional landmark files (arXiv 1710.08092).

<root>/train/<person>/<image>, <root>/val/<person>/<image>     `val` shows the people of `train`
<root>/train/<person>/<image>                                  without `val`, every 20th image is held out
<root>/<person>/<image>                                        the same
.../<person>/landmarks.csv                                     header `file,x0,y0,...`; pixels of that image as stored

VGGFace2's own `test` is not read: it shows other people, for whom a trained network has no output.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_warn

from affect.storage.csv_table import read_csv_text
from affect.storage.fingerprint import source_states, states_digest
from affect.storage.image_suffixes import describe_ignored, is_hidden, list_images
from affect.storage.text_file import parse_numbers
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset
from datamodules.images.decoding import UnreadableImageError, read_header
from datamodules.images.orientation import turn_points_upright
from datamodules.index_cache import cached_table
from datamodules.readers.annotation_errors import AnnotationError, raise_for_problems
from datamodules.split_overlap import warn_of_copies

LANDMARK_FILE: Final = "landmarks.csv"
HELD_OUT_EVERY: Final = 20


class VGGFace2DataModule(ImageDataModule):
    """Load faces with the index of their person and, where known, their landmarks.

    Batches hold `person` (B,) int64 and `landmarks` (B, 2 K) float32: x and y alternating, from -1 at the left and top
    border of the image to 1 at the right and bottom; NaN where missing.

    Args:
        root: Folder of the tree.
        cache_dir: Folder of the index cache.
        **loader: The arguments of ImageDataModule.

    Attributes:
        people: Names of the folders, in label order, after `setup`.
        num_landmarks: Points per face, K; 0 without landmark files.
    """

    def __init__(self, root: str, cache_dir: str = ".cache/index", **loader: Any) -> None:
        super().__init__(**loader)
        self.root = Path(root)
        self.cache_dir = cache_dir
        self.people: list[str] = []
        self.num_landmarks = 0

    def setup(self, stage: str | None = None) -> None:
        """List the images of every person."""
        if self.datasets:
            return
        folders = list(self._folders())
        state = states_digest(source_states((folder for _, folder in folders), self.root))
        self._warn_of_ignored([folder for _, folder in folders])
        splits = " ".join(sorted({split for split, _ in folders}))
        key = f"people {splits} {self.root.resolve()}"
        index = cached_table(self.cache_dir, key, state, lambda: read_people(self.root, folders))
        if "val" in splits:
            keys = index["person"] + "/" + index["path"].str.rpartition("/")[2]
            files = index[["split"]].assign(path=f"{self.root}/" + index["path"], key=keys, label=index["person"])
            warn_of_copies(str(self.root), files)
        self.people = sorted(index["person"].unique())
        points = [column for column in index if str(column)[0] in "xy" and str(column)[1:].isdigit()]
        self.num_landmarks = len(points) // 2
        for split in ("train", "val"):
            rows = index[index["split"] == split]
            if rows.empty:
                raise AnnotationError(f"{self.root}: no {split} image")
            self.datasets[split] = ImageDataset(
                root=self.root,
                paths=rows["path"].tolist(),
                size=self.image_size,
                labels={
                    "person": pd.Categorical(rows["person"], self.people).codes.astype(np.int64),
                    "landmarks": rows[points].to_numpy(np.float32),
                },
                on_corrupt=self.on_corrupt,
            )

    def _folders(self) -> Iterator[tuple[str, Path]]:
        if not self.root.is_dir():
            raise AnnotationError(f"there is no folder {self.root}; it should hold one folder per person")
        train, val = self.root / "train", self.root / "val"
        if train.is_dir() and val.is_dir():
            parts = [("train", train), ("val", val)]
        else:
            parts = [("", train if train.is_dir() else self.root)]
        for split, part in parts:
            for folder in sorted(part.iterdir()):
                if folder.is_dir() and not is_hidden(folder.name):
                    yield split, folder

    def _warn_of_ignored(self, folders: list[Path]) -> None:
        """Warn in every run, whether the index comes from the cache or not."""
        loose = [name for part in sorted({folder.parent for folder in folders}) for name in _files(part)]
        others = [path / name for path in folders for name in list_images(path, known=(LANDMARK_FILE,))[1]]
        ignored = [path.relative_to(self.root).as_posix() for path in (*loose, *others)]
        if ignored:
            rank_zero_warn(describe_ignored(self.root, ignored))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and not path.is_dir())


def read_people(root: Path, folders: list[tuple[str, Path]]) -> pd.DataFrame:
    """List the images of the folders, with columns `split`, `path`, `person` and any x0, y0, ... in [-1, 1].

    Args:
        root: Folder that the paths are relative to.
        folders: Split and folder of each person; of a split "", every 20th image is held out as `val`.

    Raises:
        AnnotationError: If there are no images, a landmark file is malformed or has another number of points than
            others, or `val` shows unknown people.
    """
    parts = []
    annotated: tuple[Path, int] | None = None
    for split, folder in folders:
        names, _ = list_images(folder)
        part = pd.DataFrame({"path": [f"{folder.relative_to(root)}/{name}" for name in names]}, index=names)
        held_out = (np.arange(len(names)) + 1) % HELD_OUT_EVERY == 0
        part["split"] = split or np.where(held_out, "val", "train")
        part["person"] = folder.name
        if (folder / LANDMARK_FILE).exists():
            landmarks = _read_landmarks(folder)
            annotated = annotated or (folder, landmarks.shape[1])
            first, width = annotated
            if landmarks.shape[1] != width:
                raise AnnotationError(
                    f"{folder / LANDMARK_FILE}: {landmarks.shape[1] // 2} points a face, but {width // 2} in {first}"
                )
            part = part.join(landmarks)
        parts.append(part)
    index = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if index.empty:
        raise AnnotationError(f"{root} holds no folder of images per person")
    known = set(index.loc[index["split"] == "train", "person"])
    strangers = sorted(set(index["person"]) - known)
    if strangers and (root / "val").is_dir():
        raise AnnotationError(
            f"{root}/val shows people that train does not, such as {strangers[:3]}; rename val, and every "
            f"{HELD_OUT_EVERY}th image of train is held out instead"
        )
    return index


def _read_landmarks(folder: Path) -> pd.DataFrame:
    """Read a person's landmark file and scale the points by the size of their image."""
    path = folder / LANDMARK_FILE
    text = read_csv_text(path, AnnotationError)
    points = [f"{axis}{point}" for point in range(len(text.columns) // 2) for axis in "xy"]
    if not points or text.columns != ["file", *points]:
        raise AnnotationError(f"{path}: expected the header file,x0,y0,x1,y1,..., got {text.columns[:5]}")
    names, *columns = (
        zip(*(row.split(",") for row in text.rows), strict=True) if text.rows else [()] * (1 + len(points))
    )
    files = pd.Series([name.strip() for name in names], dtype=object)
    present = {entry.name for entry in folder.iterdir()}
    values = np.stack([parse_numbers(column) for column in columns], axis=1).astype(np.float32)
    problems = [
        (int(text.lines[row]), reason)
        for wrong, reason in (
            (~files.isin(present), "names an image that is not beside it"),
            (files.duplicated(), "names an image a second time"),
            (~np.isfinite(values).all(1), "holds something that is not a number"),
        )
        for row in np.flatnonzero(wrong)
    ]
    raise_for_problems(path, problems)
    faces = values.reshape(len(files), len(points) // 2, 2)
    scaled = [_upright(folder / name, face) for name, face in zip(files, faces, strict=True)]
    return pd.DataFrame(np.reshape(scaled, values.shape), files, points)


def _upright(path: Path, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale pixels as stored, shape (K, 2), to [-1, 1], and turn them upright like the image."""
    try:
        header = read_header(path)
    except UnreadableImageError as error:
        raise AnnotationError(f"{path} has landmarks but cannot be read ({error})") from error
    scaled = (points / np.array([header.width, header.height]) * 2 - 1).astype(np.float32)
    return turn_points_upright(scaled, header.orientation)
