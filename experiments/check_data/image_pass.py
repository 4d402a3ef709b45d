"""Opening every image of a set in worker processes: header, content, thumbnail."""

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch.utils.data import Dataset

from affect.stop_signals import STOP_SIGNALS
from affect.storage.fingerprint import file_digest
from callbacks.image_progress import PaceColumn
from datamodules.images.dataset import read_image
from datamodules.images.decoding import UnreadableImageError, read_header
from datamodules.loaders import build_loader

THUMBNAIL: Final = 16
"""Side of the grey thumbnails in pixels."""
_CHUNK: Final = 32
_SECONDS_PER_LINE: Final = 30.0
_log = logging.getLogger(__name__)


class ImageState(NamedTuple):
    """What was found in an image file.

    Attributes:
        width: Columns as stored; 0 if it could not be read.
        height: Rows as stored; 0 likewise.
        fault: Why it cannot be read; empty if it can.
        remarks: What is unusual about it though it can be read.
        digest: SHA-256 of the file; empty if it was not decoded.
        thumbnail: Grey levels, shape (16, 16), uint8; None if it was not decoded.
    """

    width: int = 0
    height: int = 0
    fault: str = ""
    remarks: tuple[str, ...] = ()
    digest: str = ""
    thumbnail: NDArray[np.uint8] | None = None


@dataclass
class ImagePass:
    """The result of opening the images of a set.

    Attributes:
        states: What was found, by path; without the images that were not reached.
        total: Number of images that were to be opened.
        decoded: Number of images that were decoded.
        seconds: Duration.
    """

    states: dict[str, ImageState] = field(default_factory=dict)
    total: int = 0
    decoded: int = 0
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all images were opened."""
        return len(self.states) == self.total


def open_images(
    root: Path, paths: Sequence[str], decode: NDArray[np.bool_], num_workers: int, progress_bar: bool
) -> ImagePass:
    """Open images; a signal ends the pass early, and the caller raises it with `STOP_SIGNALS.check`.

    Args:
        root: Folder that the paths are relative to.
        paths: N different paths of files that exist.
        decode: Which images are decoded, shape (N,); of the others only the header is read.
        num_workers: Processes; 0 opens them in this one.
        progress_bar: Show a bar, or lines where standard output is no terminal.
    """
    result = ImagePass(total=len(paths))
    if not paths:
        return result
    chunks = _ImageChunks(root, paths, decode)
    loader = build_loader(
        chunks, num_workers, batch_bytes=_CHUNK * 2048, key="num_workers", batch_size=None, collate_fn=_unchanged
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), PaceColumn())
    is_terminal = sys.stdout.isatty()
    started = last = time.perf_counter()
    with Progress(*columns, transient=True, disable=not (progress_bar and is_terminal)) as bar:
        task = bar.add_task("Images", total=len(paths))
        for states in loader:
            result.states |= states
            bar.update(task, completed=len(result.states))
            now = time.perf_counter()
            if progress_bar and not is_terminal and now - last >= _SECONDS_PER_LINE:
                last = now
                _log.info("%s", _pace(len(result.states), len(paths), now - started))
            if STOP_SIGNALS.number is not None:
                break
    result.seconds = time.perf_counter() - started
    result.decoded = sum(bool(state.digest) for state in result.states.values())
    return result


def _pace(done: int, total: int, seconds: float) -> str:
    left = timedelta(seconds=round((total - done) * seconds / done))
    return f"{done:,} of {total:,} images, {done / seconds:,.0f} images/s, {left} left"


class _ImageChunks(Dataset[dict[str, ImageState]]):
    """Chunks of images, opened on access."""

    def __init__(self, root: Path, paths: Sequence[str], decode: NDArray[np.bool_]) -> None:
        self.root = root
        # One array of fixed-width text: a list of strings would be copied into every worker page by page.
        self.paths = np.asarray(paths, dtype=np.str_)
        self.decode = decode

    def __len__(self) -> int:
        return -(-len(self.paths) // _CHUNK)

    def __getitem__(self, index: int) -> dict[str, ImageState]:
        rows = slice(index * _CHUNK, (index + 1) * _CHUNK)
        pairs = zip(self.paths[rows].tolist(), self.decode[rows], strict=True)
        return {path: inspect_image(self.root / path, bool(decode)) for path, decode in pairs}


def inspect_image(path: Path, decode: bool) -> ImageState:
    """Open an image.

    Args:
        path: The file.
        decode: Whether it is decoded, as for training; otherwise its header alone is read.
    """
    width = height = 0
    try:
        header = read_header(path)
        width, height = header.width, header.height
        remarks = ["is turned by its EXIF orientation"] * (header.orientation != 1)
        remarks += ["has transparent pixels, which show white"] * header.is_transparent
        remarks += ["has samples of over 8 bits, which are reduced to 8"] * header.is_deep
        if not decode:
            return ImageState(width, height, remarks=tuple(remarks))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image = read_image(path)
        remarks += ["is damaged, but can be decoded"] * any(str(path) in str(warning.message) for warning in caught)
        thumbnail = _thumbnail(image)
        remarks += ["shows one colour only"] * (int(np.ptp(image)) <= 2 or int(np.ptp(thumbnail)) <= 1)
        return ImageState(width, height, "", tuple(remarks), file_digest(path), thumbnail)
    except (UnreadableImageError, OSError) as error:
        return ImageState(width, height, fault=str(error).removeprefix(f"{path}: "))


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def _unchanged(batch: Any) -> Any:
    return batch
