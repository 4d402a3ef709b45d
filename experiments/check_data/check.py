"""Check a data set: everything that is wrong with it in one report, before a training depends on it.

python -m experiments.check_data [data.root=FOLDER] [key=value ...]

Exit status 0: usable; 1: something stops or spoils a training; 2: the command cannot run.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import MissingFileError
from affect.stop_signals import STOP_SIGNALS
from affect.storage.atomic_write import write_json, write_text
from experiments.check_data.contact_sheet import contact_sheet, look_alike_sheet
from experiments.check_data.duplicates import LookAlike, check_copies, find_look_alikes, look_alike_problems
from experiments.check_data.image_checks import check_images, check_missing, describe_sizes
from experiments.check_data.image_pass import ImagePass, open_images
from experiments.check_data.listing import Listing
from experiments.check_data.report import Report
from experiments.check_data.sample_checks import check_samples
from experiments.check_data.sets import NAMES, list_set
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import CORES, save_config
from experiments.runtime.config.options import option
from experiments.runtime.demo_set import DEMO_ROOT, WRITERS
from experiments.runtime.provenance import describe_environment
from experiments.runtime.reports.figures import save_figure
from experiments.runtime.reports.messages import RunLog
from experiments.runtime.run_folder import FINISHED, RunFolder, link_latest

DECODE: Final = ("all", "sample", "headers")
_log = logging.getLogger("experiments.check_data")


@dataclass
class DataConfig:
    """The set."""

    root: str | None = option(
        None, "folder of the data set; null: each demo set below data/demo that has been drawn", path=True
    )


@dataclass
class CheckConfig:
    """Options of the command."""

    set: str = option("auto", "which data set it is; auto: by its files; images: any folder of images", choices=NAMES)
    decode: str = option(
        "all", "which images are decoded, as training does it; of the others only the header is read", choices=DECODE
    )
    sample_size: int = option(2000, "number of images that decode=sample decodes", ge=1)
    min_face: int = option(32, "smallest side of a face in pixels that is not called tiny", ge=1)
    look_alike: float | None = option(
        0.99, "correlation of two thumbnails from which images of different splits look alike; null: no comparison",
        gt=0, le=1,
    )  # fmt: skip
    seed: int = option(42, "seed of the sample and of the contact sheet", ge=0, le=2**32 - 1)
    num_workers: int = option(CORES, "number of processes that open images; 0: the main process", ge=0, le=1024)
    progress_bar: bool = option(True, "show progress with images per second and time left")
    output_dir: str = option("runs", "folder in which run folders are created", path=True)
    data: DataConfig = field(default_factory=DataConfig)


def check_data(config: CheckConfig) -> bool:
    """Check one set, or every demo set that exists.

    Returns:
        Whether all are usable.

    Raises:
        MissingFileError: If the folder does not exist or holds no known set, or there is no demo set.
        StorageError: If the report cannot be written.
    """
    roots = [Path(config.data.root)] if config.data.root is not None else list(_demo_sets())
    if not roots:
        raise MissingFileError(
            f"there is no demo set below {DEMO_ROOT} to check; give a folder (make: DATA=, else data.root=), or draw "
            "the sets with `make demo`"
        )
    reports = [check_set(root, config) for root in roots]
    return all(report.is_usable for report in reports)


def _demo_sets() -> Iterator[Path]:
    """Yield the sets of the three stages; that of people has no labels to check."""
    for kind in WRITERS:
        if kind in NAMES and (DEMO_ROOT / kind).is_dir():
            yield DEMO_ROOT / kind


def check_set(root: Path, config: CheckConfig) -> Report:
    """Check a set and write the report into a new run folder.

    A signal during the pass over the images ends it; the report then covers those opened so far.

    Raises:
        MissingFileError: If the folder does not exist or holds no known set; no run folder is made then.
        StorageError: If the report cannot be written.
    """
    listing = list_set(root, config.set)
    place = RunFolder(config.output_dir, "check_data", None, is_first=True)
    log = RunLog(place.path)
    try:
        _log.info("checking %s in %s · %s", listing.title, root, place.path)
        report = _check(listing, config, place.path)
        write_json(place.path / FINISHED, describe_environment(config.seed, "cpu"))
        if report.is_complete:
            link_latest(place.path)
    finally:
        log.close()
        place.remove_if_useless()
        place.release()
        STOP_SIGNALS.undefer()
    STOP_SIGNALS.check()
    return report


def _check(listing: Listing, config: CheckConfig, folder: Path) -> Report:
    save_config(config, folder / "config.yaml")
    problems = [*listing.problems, *check_samples(listing)]
    paths, missing = check_missing(listing)
    STOP_SIGNALS.defer()  # from here on, a signal ends the pass, and what was found is reported
    opened = open_images(listing.root, paths, _chosen(len(paths), config), config.num_workers, config.progress_bar)
    problems += [*missing, *check_images(listing, opened.states, config.min_face)]
    problems += check_copies(listing, opened.states)
    pairs = find_look_alikes(listing, opened.states, config.look_alike) if config.look_alike is not None else []
    problems += look_alike_problems(pairs)
    report = Report(listing, problems, _coverage(opened, config), opened.is_complete, [describe_sizes(opened.states)])
    pictures = _draw(listing, opened, pairs, config.seed, folder)
    write_text(folder / "problems.csv", report.to_csv())
    write_text(folder / "report.md", report.to_markdown(pictures))
    speed = {"images_per_second": round(len(opened.states) / opened.seconds, 1)} if opened.seconds else {}
    metrics = {"images/listed": len(paths) + len(missing), "images/opened": len(opened.states)}
    write_json(folder / "metrics.json", {**report.metrics(), **metrics, "images/decoded": opened.decoded, **speed})
    for table in report.tables():
        _log.info(table)
    _log.info("%s", report.coverage)
    _log.log(logging.INFO if report.is_usable else logging.WARNING, "%s", report.verdict)
    _log.info("report: %s", folder / "report.md")
    return report


def _chosen(total: int, config: CheckConfig) -> np.ndarray:
    """Return which of the images are decoded, shape (total,)."""
    if config.decode == "all":
        return np.ones(total, bool)
    chosen = np.zeros(total, bool)
    if config.decode == "sample":
        rows = np.random.default_rng(config.seed).permutation(total)[: config.sample_size]
        chosen[rows] = True
    return chosen


def _coverage(opened: ImagePass, config: CheckConfig) -> str:
    count, rate = len(opened.states), len(opened.states) / max(opened.seconds, 1e-9)
    compared = "" if opened.decoded == opened.total else "; only decoded images are compared with one another"
    chosen = f" (a sample, seed {config.seed})" if config.decode == "sample" else ""
    return (
        f"{count:,} of {opened.total:,} images opened and {opened.decoded:,} decoded{chosen} in "
        f"{opened.seconds:.1f} s, {rate:,.0f} images/s{compared}"
    )


def _draw(listing: Listing, opened: ImagePass, pairs: list[LookAlike], seed: int, folder: Path) -> list[str]:
    """Draw the pictures into the folder, and return their names."""
    readable = {path for path, state in opened.states.items() if not state.fault}
    figures = {"contact_sheet.png": contact_sheet(listing, readable, seed)} if readable else {}
    if pairs:
        figures["look_alikes.png"] = look_alike_sheet(listing, pairs)
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    return list(figures)


def run(config: CheckConfig) -> None:
    """Run the command; exit status 1 if a set is not usable."""
    if not check_data(config):
        raise SystemExit(1)


def main() -> None:
    """Run from the command line."""
    run_experiment(CheckConfig, "check_data", run, default_recipe=None)
