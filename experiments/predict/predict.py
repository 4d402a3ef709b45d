"""Predict the faces of photographs, a video or a camera.

    python -m experiments.predict source=FILE_OR_FOLDER backbone=RUN_OR_FILE [heads=RUN] [key=value ...]

Writes to `runs/predict/<time>`: `faces.csv`, `faces.parquet`, what was looked at with the faces drawn into it, and
figures of each person.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Final

from affect.faces.tracking import Tracker
from affect.storage.fingerprint import file_digest
from datamodules.media.frame import FrameSource
from datamodules.media.photographs import Photographs
from experiments.predict.annotate import annotate
from experiments.predict.config import PredictConfig
from experiments.predict.figures import draw_people
from experiments.predict.read_source import read_source, total_frames
from experiments.predict.recognizer import Recognizer
from experiments.predict.rows import Parts
from experiments.predict.run import UNREADABLE, PredictionRun
from experiments.predict.sources import open_source
from experiments.predict.tables import treated, write_tables
from experiments.runtime.command_line import run_experiment
from experiments.runtime.demo_set import warn_of_drawn_backbone
from experiments.runtime.reports.figures import save_figure

_log = logging.getLogger(__name__)

SHOWN: Final = 5
"""Messages about damage that are shown; all are in the run folder."""
DAMAGED: Final = 1
"""Exit status of a command that has finished, but could not read all of its source."""


def predict(config: PredictConfig) -> Path:
    """Run the command and return the run folder."""
    source = open_source(config.source)
    run = PredictionRun(config)
    if run.was_finished:
        _log.info("%s has finished", run.folder)
        return run.folder
    if isinstance(source, Photographs) and source.ignored:
        _log.warning("%s", source.ignored)
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
    inputs = {"backbone": recognizer.path, "backbone_sha256": file_digest(recognizer.path)}
    run.finish(inputs, summary, progress.damage)
    _log.info("%d frames, %d faces, %d people: %s", *summary.values(), run.folder / "faces.csv")
    for message in progress.damage[:SHOWN]:
        _log.warning("%s", message)
    if len(progress.damage) > SHOWN:
        _log.warning("%d more are in %s", len(progress.damage) - SHOWN, run.folder / UNREADABLE)
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


def main() -> None:
    """Run from the command line; with exit status DAMAGED if a part of the source could not be read."""
    run_experiment(PredictConfig, "predict", _predict_or_complain, default_recipe=None)


def _predict_or_complain(config: PredictConfig) -> None:
    if (predict(config) / UNREADABLE).is_file():
        raise SystemExit(DAMAGED)
