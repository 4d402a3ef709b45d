"""Atomic building of drawn data sets, on all cores with a progress bar."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import cv2
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from affect.errors import UserError
from affect.storage.atomic_write import write_json
from affect.storage.json_file import read_json
from affect.storage.locks import exclusive_lock
from affect.storage.write_errors import storage_errors
from demo_data.renderer.face import RENDERER_VERSION

STAMP: Final = "demo.json"
"""File in a finished set's root: the parameters and renderer version it was drawn with."""

Job = TypeVar("Job")
Result = TypeVar("Result")
Options = ParamSpec("Options")


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def demo_set(
    name: str, **fixed: Any
) -> Callable[[Callable[Concatenate[Path, Options], None]], Callable[Concatenate[str | Path, Options], bool]]:
    """Decorate a function that draws a data set into an empty folder, so that it draws one that does not exist yet.

    The function takes keyword-only options with defaults. All of them but `workers` (number of processes; by default
    one per core) determine the set's bytes: `seed`, and for instance the number of faces. The decorated function takes
    the set's folder, and returns whether the set was drawn; see `build`.

    Args:
        name: Name of the set in its stamp.
        **fixed: Further values of the stamp.
    """

    def decorate(draw: Callable[..., None]) -> Callable[..., bool]:
        @functools.wraps(draw)
        def write(root: str | Path, **options: Any) -> bool:
            options = {**(draw.__kwdefaults__ or {}), **options}
            recipe = {"set": name, **{key: options[key] for key in options if key != "workers"}, **fixed}
            return build(root, recipe, lambda folder: draw(folder, **options))

        return write

    return decorate


def build(root: str | Path, recipe: dict[str, Any], write: Callable[[Path], None]) -> bool:
    """Write a data set unless it exists with the same recipe.

    The set is written under a temporary name beside `root`, stamped with its recipe, and renamed: an interrupted
    set is never mistaken for a complete one and is drawn again. Of several processes one draws, the others wait.

    Args:
        root: Folder of the set.
        recipe: Plain values that determine every byte of the set; the renderer's version is added.
        write: Draws the set into the folder it is given.

    Returns:
        Whether the set was drawn; False if it existed.

    Raises:
        UserError: If `root` holds files that this package did not draw.
        StorageError: If it cannot be written; partial files are removed.
    """
    root = Path(root)
    stamp = {**recipe, "renderer": RENDERER_VERSION}
    if _read_stamp(root) == stamp:  # before anything is written: the set may be on a read-only disk
        return False
    with exclusive_lock(root.parent / f".{root.name}.lock"):
        if _read_stamp(root) == stamp:  # another process has drawn it meanwhile
            return False
        if root.exists() and any(root.iterdir()) and not (root / STAMP).is_file():
            raise UserError(
                f"{root} holds files, but no {STAMP}: they were not drawn by demo_data and are not changed. "
                "Choose another folder"
            )
        unfinished = root.parent / f".{root.name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            with storage_errors(root):
                unfinished.mkdir()
                write(unfinished)
                write_json(unfinished / STAMP, stamp)
                if root.exists():
                    shutil.rmtree(root)
                unfinished.rename(root)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return True


def _read_stamp(root: Path) -> Any:
    try:
        return read_json(root / STAMP, dict[str, Any], "draw the set again")
    except UserError:
        return None


def draw_all(
    draw: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int | None = None, description: str
) -> list[Result]:
    """Run one function over many jobs, on several cores, under a progress bar; results are in the order of the jobs.

    Args:
        draw: A module-level function; it must depend on its job alone, so that the result is the same for any
            number of workers.
        jobs: Plain values.
        workers: Number of processes; by default one per core. 1 stays in this process.
        description: What is being drawn, for the progress bar.
    """
    workers = min(default_workers() if workers is None else workers, len(jobs))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # The workers are forked before the progress bar starts its thread: a fork copies no thread, only its locks.
    with _single_threaded_opencv(), contextlib.ExitStack() as running:
        results: Iterable[Result] = map(draw, jobs)
        if workers > 1:
            pool = running.enter_context(_pool(workers))
            results = pool.imap(draw, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))
        progress = running.enter_context(Progress(*columns, transient=not sys.stdout.isatty()))
        return list(progress.track(results, total=len(jobs), description=description))


def _pool(workers: int) -> Any:
    if sys.platform == "linux":
        # A forked worker starts at once; a spawned one would import the caller's main module first, torch and all.
        return multiprocessing.get_context("fork").Pool(workers)
    return multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,))


@contextlib.contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Disable OpenCV's threads: small pictures do not need them, and forked workers would deadlock on them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def write_jpeg(path: str | Path, image: np.ndarray, quality: int) -> None:
    """Store an RGB picture, shape (H, W, 3) uint8, as JPEG.

    Raises:
        StorageError: If the file could not be written.
    """
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    with storage_errors(path, len(content)):
        Path(path).write_bytes(content)
