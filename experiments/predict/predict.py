"""Predict the faces of photographs, a video or a camera.

    python -m experiments.predict source=FILE_OR_FOLDER backbone=RUN_OR_FILE [heads=RUN] [key=value ...]

Writes to `runs/predict/<time>`: `faces.csv`, `faces.parquet`, what was looked at with the faces drawn into it, and
figures of each person.
"""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow.parquet as pq

from affect.faces.tracking import Tracker
from affect.storage.image_suffixes import has_image_suffix
from datamodules.media.frame import Frame, FrameSource
from datamodules.media.read_ahead import read_ahead
from datamodules.media.video import Video
from experiments.predict.annotate import VideoFile, draw_faces, write_picture
from experiments.predict.config import PredictConfig
from experiments.predict.figures import draw_people
from experiments.predict.progress import frame_progress
from experiments.predict.recognizer import Recognizer
from experiments.predict.rows import Parts, Progress, Rows
from experiments.predict.run import PredictionRun
from experiments.predict.sources import open_source
from experiments.predict.tables import treated, write_tables
from experiments.runtime.command_line import run_experiment
from experiments.runtime.demo_set import warn_of_drawn_backbone
from experiments.runtime.reports.figures import save_figure

_log = logging.getLogger(__name__)

CHUNK: Final = 64
"""Pictures after which the rows are written: what a kill loses at most."""
BATCH_BYTES: Final = 64_000_000
"""Pixels of the pictures that are looked at together; at most `BATCH` of them."""
BATCH: Final = 16


def predict(config: PredictConfig) -> Path:
    """Run the command and return the run folder."""
    source = open_source(config.source)
    run = PredictionRun(config)
    if run.was_finished:
        _log.info("%s has finished", run.folder)
        return run.folder
    recognizer = load_recognizer(config, source)
    parts = Parts(run.folder / "parts")
    progress = read_source(source, recognizer, Tracker(config.tracking.rules()), parts, config)

    tables = treated(parts, recognizer.labels, recognizer.calibrator, source.moves)
    num_faces, num_people = write_tables(run.folder, tables)
    if config.annotate:
        annotate(source, run.folder, config)
    if source.moves:
        for name, figure in draw_people(run.folder / "faces.parquet", recognizer.labels, config.figures).items():
            save_figure(figure, run.folder / "figures" / f"{name}.png")
    summary = {"frames": progress.frames, "faces": num_faces, "people": num_people}
    inputs = {"source": str(Path(config.source).resolve())}
    run.finish(inputs, summary, progress.damage)
    _log.info("%d frames, %d faces, %d people: %s", *summary.values(), run.folder / "faces.csv")
    return run.folder


def load_recognizer(config: PredictConfig, source: FrameSource) -> Recognizer:
    """Load the networks, in an engine that pays for the number of pictures."""
    count = total_frames(source, config.every)
    network = config.network
    recognizer = Recognizer.load(
        config.backbone, config.heads, **asdict(config.faces), device=network.device, engine=network.engine,
        precision=network.precision, cache_dir=network.cache_dir, num_images=count, on_message=_log.info,
    )  # fmt: skip
    _log.info("engine %s in %s on %s", recognizer.engine.name, network.precision, recognizer.device)
    warn_of_drawn_backbone(recognizer.path, recognizer.spec.notes.get("recipe"), config.source)
    return recognizer


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
        contextlib.closing(read_ahead(source.frames(progress.position, config.every), capacity=4)) as frames,
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
            progress = Progress(position, count, (*earlier, *source.damage), tracker.state())
            parts.add(rows.table(), progress)
    return replace(progress, damage=(*earlier, *source.damage))


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


def annotate(source: FrameSource, folder: Path, config: PredictConfig) -> None:
    """Go through a source once more, and write its pictures or its video with the faces drawn."""
    pictures = zip(source.frames(every=config.every), rows_by_picture(folder / "faces.parquet"), strict=True)
    with (
        contextlib.closing(read_ahead(pictures, capacity=4)) as drawn,
        frame_progress("drawing", total_frames(source, config.every), 0, config.progress_bar) as advance,
    ):
        if isinstance(source, Video):
            rate = source.rate and source.rate / config.every
            with VideoFile.opened(folder / "annotated.mp4", rate) as video:
                for frame, rows in drawn:
                    video.add(frame, draw_faces(frame.image, rows))
                    advance(1)
            return
        for frame, rows in drawn:
            write_picture(folder / "annotated" / jpeg_name(frame.file), draw_faces(frame.image, rows))
            advance(1)


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


def main() -> None:
    """Run from the command line."""
    run_experiment(PredictConfig, "predict", predict, default_recipe=None)
