"""The second pass over a source: its pictures or its video with the faces drawn into them."""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from affect.storage.image_suffixes import has_image_suffix
from datamodules.images.decoding import UnreadableImageError
from datamodules.media.camera import Camera
from datamodules.media.frame import Frame, FrameSource
from datamodules.media.read_ahead import read_ahead
from datamodules.media.video import Video
from experiments.predict.config import PredictConfig
from experiments.predict.drawing import draw_faces, write_picture
from experiments.predict.progress import frame_progress
from experiments.predict.read_source import RECORDING, total_frames
from experiments.predict.video_file import VideoFile

_log = logging.getLogger(__name__)


def annotate(source: FrameSource, folder: Path, config: PredictConfig) -> None:
    """Go through a source once more, and write its pictures or its video with the faces drawn.

    Raises:
        UnreadableImageError: If the source does not have the same pictures any more.
    """
    every = config.every
    if isinstance(source, Camera):
        if not (folder / RECORDING).is_file():
            _log.warning("the recording was lost when the run was stopped; no video is drawn")
            return
        source, every = Video(folder / RECORDING), 1
    pictures = paired(source.frames(every=every), rows_by_picture(folder / "faces.parquet"), config.source)
    with (
        contextlib.closing(read_ahead(pictures, capacity=4)) as drawn,
        frame_progress("drawing", total_frames(source, every), 0, config.progress_bar) as advance,
    ):
        if isinstance(source, Video):
            rate = source.rate and source.rate / every
            with VideoFile.opened(folder / "annotated.mp4", rate) as video:
                for frame, rows in drawn:
                    video.add(frame, draw_faces(frame.image, rows))
                    advance(1)
            (folder / RECORDING).unlink(missing_ok=True)
            return
        for frame, rows in drawn:
            write_picture(folder / "annotated" / jpeg_name(frame.file), draw_faces(frame.image, rows))
            advance(1)


def paired(frames: Iterable[Frame], rows: Iterable[pd.DataFrame], source: str) -> Iterator[tuple[Frame, pd.DataFrame]]:
    """Pair pictures with their rows.

    Raises:
        UnreadableImageError: If their numbers differ.
    """
    for frame, own in itertools.zip_longest(frames, rows):
        if frame is None or own is None:
            raise UnreadableImageError(
                f"source={source}: its pictures are not those that were read before; start again"
            )
        yield frame, own


def jpeg_name(name: str) -> str:
    """Return the name of a photograph's annotated copy; no two photographs have the same."""
    stem = Path(name).stem
    return name if name.endswith(".jpg") and not has_image_suffix(stem) else f"{name}.jpg"


def rows_by_picture(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of each picture from `faces.parquet`, a row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).to_pandas()
            yield from (rows for _, rows in rows.groupby("frame", sort=False))
