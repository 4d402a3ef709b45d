"""Reader of per-frame feature tables such as OpenFace's, one CSV per video, aligned to image ids.

OpenFace's tables have the columns frame, confidence, success and, among others, AU01_r to AU45_c. Frames are counted
from 1, as in s-Aff-Wild2's file names.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from affect.frame_names import locate_frames, video_of
from affect.storage.csv_table import read_csv_text
from datamodules.readers.annotation_errors import AnnotationError

_MAX_FRAME: Final = 2**53
"""Largest frame number, the last to which float64 is exact."""


@dataclass(frozen=True)
class FrameTables:
    """Rows of all videos, in the order of the requested image ids.

    Attributes:
        features: Shape (N, D), float32; all NaN where the tool found no face.
        columns: Names of the D columns.
        absent_videos: Videos without a table.
        failing: Rows that have no features, absent videos included.
    """

    features: np.ndarray = field(repr=False)
    columns: list[str]
    absent_videos: list[str]
    failing: int


def read_frame_tables(root: str | Path, names: Sequence[str], columns: str, min_confidence: float = 0.7) -> FrameTables:
    """Read the tables `<root>/<video>.csv` and select each image's row.

    A frame fails where its table has no row for it, `success` is not 1, `confidence` is below the minimum, or one of
    these or a feature is not a number.

    Args:
        root: Folder of the tables.
        names: N image ids, `video/00001.jpg`.
        columns: Regular expression that matches the whole name of each feature column.
        min_confidence: Lowest confidence, where the table has that column.

    Raises:
        AnnotationError: If the folder is missing, no video has a table, or a table lacks the column `frame` or the
            features that others have, or holds a frame twice or one that is no whole number.
    """
    root = Path(root)
    if not root.is_dir():
        raise AnnotationError(f"no folder {root} with the second stream's tables (stream.root)")
    videos = list(dict.fromkeys(video_of(name) for name in names))
    number, frame = locate_frames(names)
    found: list[str] | None = None
    absent: list[str] = []
    features: np.ndarray | None = None
    for position, video in enumerate(videos):
        path = root / f"{video}.csv"
        if not path.exists():
            absent.append(video)
            continue
        table = _read_table(path, columns, min_confidence)
        if found is None or features is None:
            found = table.columns.tolist()
            features = np.full((len(names), len(found)), np.nan, np.float32)
        if table.columns.tolist() != found:
            raise AnnotationError(f"{path}: its features {table.columns.tolist()} differ from the others' {found}")
        rows = np.flatnonzero(number == position)
        features[rows] = table.reindex(frame[rows]).to_numpy(np.float32)
    if found is None or features is None:
        raise AnnotationError(f"{root} has no table for any video, for example {videos[0]}.csv")
    return FrameTables(features, found, absent, int(np.isnan(features[:, 0]).sum()))


def _read_table(path: Path, columns: str, min_confidence: float) -> pd.DataFrame:
    """Read one table: features by frame number, NaN where the frame fails."""
    text = read_csv_text(path, AnnotationError)
    chosen = [name for name in text.columns if re.fullmatch(columns, name)]
    if "frame" not in text.columns or not chosen:
        raise AnnotationError(
            f"{path}: needs a column 'frame' and features that match {columns!r} (stream.columns); it has "
            f"{text.columns[:12]}"
        )
    positions = [
        number for number, name in enumerate(text.columns) if name in {"frame", "success", "confidence", *chosen}
    ]
    if not text.rows:
        raise AnnotationError(f"{path} holds no row")
    raw = pd.read_csv(
        io.StringIO("\n".join(text.rows)), header=None, usecols=positions, index_col=False, quoting=csv.QUOTE_NONE,
        skipinitialspace=True,
    )  # fmt: skip
    raw.columns = [text.columns[number] for number in positions]
    table = raw.apply(pd.to_numeric, errors="coerce")
    if (broken := ~table["frame"].between(0, _MAX_FRAME) | (table["frame"] % 1 != 0)).any():
        row = int(broken.to_numpy().argmax())
        raise AnnotationError(f"{path}:{text.lines[row]}: frame {raw['frame'].iloc[row]} is not a whole number")
    if table["frame"].duplicated().any():
        twice = int(table["frame"][table["frame"].duplicated()].iloc[0])
        raise AnnotationError(f"{path}: frame {twice} occurs twice; keep one face per frame")
    features = table[chosen].replace([np.inf, -np.inf], np.nan)
    failing = features.isna().any(axis=1)
    if "success" in table.columns:
        failing |= table["success"] != 1
    if "confidence" in table.columns:
        failing |= ~(table["confidence"] >= min_confidence)
    features[failing] = np.nan
    return features.set_index(table["frame"].astype(np.int64))
