"""The first pass over a source: its pictures are looked at, and their rows are written chunk by chunk."""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from affect.faces.tracking import Tracker
from affect.stop_signals import STOP_SIGNALS
from datamodules.images.decoding import UnreadableImageError
from datamodules.media.camera import Camera
from datamodules.media.frame import Frame, FrameSource
from datamodules.media.read_ahead import read_ahead
from experiments.predict.config import PredictConfig
from experiments.predict.progress import frame_progress
from experiments.predict.recognizer import Recognizer
from experiments.predict.rows import Parts, Progress, Rows
from experiments.predict.video_file import VideoFile

CHUNK: Final = 64
"""Pictures after which the rows are written: what a kill loses at most."""
BATCH_BYTES: Final = 64_000_000
"""Pixels of the pictures that are looked at together; at most `BATCH` of them."""
BATCH: Final = 16
RECORDING: Final = "recording.mp4"
"""What a camera showed, until the faces are drawn into it."""
_log = logging.getLogger(__name__)


def read_source(
    source: FrameSource, recognizer: Recognizer, tracker: Tracker, parts: Parts, config: PredictConfig
) -> Progress:
    """Look at a source's pictures and write their rows, from where the parts end.

    Returns:
        The state at the end, with all messages about what could not be read.
    """
    progress = parts.progress()
    if progress.tracker:
        tracker.restore(progress.tracker)
    earlier, count = progress.damage, progress.frames
    with (
        open_frames(source, progress.position, parts.folder.parent, config) as frames,
        frame_progress("reading", total_frames(source, config.every), count, config.progress_bar) as advance,
    ):
        for chunk in chunks(frames):
            rows = Rows(recognizer.labels)
            for batch in batches(chunk):
                for frame, faces in zip(batch, recognizer.recognize([frame.image for frame in batch]), strict=True):
                    person = faces.boxes[:, 0].argsort().argsort() + 1  # of a photograph: from left to right
                    if source.moves:
                        person = tracker.update(count, frame.image, faces.boxes, faces.features)
                    rows.add(frame, faces, person)
                    position, count = frame.position + 1, count + 1
                advance(len(batch))
            progress = Progress(position, count, _joined(earlier, source.damage), tracker.state())
            parts.add(rows.table(), progress)
    damage = _joined(earlier, source.damage)
    if not count:
        raise UnreadableImageError(f"source={config.source}: nothing in it can be read; {'; '.join(damage[:3])}")
    return replace(progress, damage=damage)


def _joined(*messages: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(itertools.chain(*messages)))


@contextlib.contextmanager
def open_frames(source: FrameSource, start: int, folder: Path, config: PredictConfig) -> Iterator[Iterator[Frame]]:
    """Read a source ahead; what a camera shows is recorded, and a signal ends it instead of the run."""
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(contextlib.closing(read_ahead(source.frames(start, config.every), capacity=4)))
        if not isinstance(source, Camera):
            yield frames
            return
        _log.info("the camera is on; Ctrl-C ends it and writes the results")
        STOP_SIGNALS.defer()
        seen: Iterator[Frame] = itertools.takewhile(lambda _: STOP_SIGNALS.number is None, frames)
        if config.annotate and not start:
            video = stack.enter_context(VideoFile.opened(folder / RECORDING, source.rate))
            seen = (video.add(frame, frame.image) or frame for frame in seen)  # type: ignore[func-returns-value]
        yield seen
        STOP_SIGNALS.undefer()
        STOP_SIGNALS.number = None


def total_frames(source: FrameSource, every: int) -> int | None:
    """Return the number of pictures that are looked at, as far as it is known."""
    return None if source.num_frames is None else -(-source.num_frames // every)


def chunks(frames: Iterator[Frame]) -> Iterator[Iterator[Frame]]:
    """Cut a sequence into chunks, each to be used up before the next."""
    for first in frames:
        yield itertools.chain((first,), itertools.islice(frames, CHUNK - 1))


def batches(chunk: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Gather pictures that are looked at together; the same ones wherever a run was interrupted."""
    batch: list[Frame] = []
    for frame in chunk:
        batch.append(frame)
        if len(batch) == BATCH or sum(each.image.nbytes for each in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
