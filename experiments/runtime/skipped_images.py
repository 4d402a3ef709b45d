"""Missing and unreadable images: found before anything is computed, and listed in the run folder."""

import logging
from collections.abc import Set
from pathlib import Path
from typing import Final

import torch.distributed as dist

from affect.storage.atomic_write import write_text
from datamodules.base import ImageDataModule
from datamodules.images.dataset import UnreadableImageError
from experiments.runtime.reports.messages import is_rank_zero

MISSING_LIST: Final = "missing_images.txt"
SKIPPED_LIST: Final = "skipped_images.txt"

_log = logging.getLogger(__name__)


def check_images(data: ImageDataModule, folder: Path) -> None:
    """Look for the files of all listed images before any is read; warn of missing ones that are to be left out.

    Raises:
        UnreadableImageError: If an image is missing or known to be unreadable and `data.on_corrupt` is `raise`; all are
            then listed in `missing_images.txt` in the folder.
    """
    found = data.check_files()
    if not found:
        return
    total = sum(len(dataset) for dataset in data.datasets.values())
    count = f"{len(found)} of {total} listed images are missing or unreadable"
    if data.on_corrupt == "raise":
        listing = folder / MISSING_LIST
        if is_rank_zero():
            write_text(listing, "\n".join(found) + "\n")
        shown = "\n".join(found[:10])
        raise UnreadableImageError(
            f"{count}:\n{shown}\nAll are listed in {listing}. Restore them, or leave them out with data.on_corrupt=skip"
        )
    _log.warning("%s and left out, for example %s", count, found[0])


def report_skipped(data: ImageDataModule, folder: Path) -> dict[str, float]:
    """Share the names of left-out images among the processes, list them in `skipped_images.txt`, and count them.

    Returns:
        `data/skipped_images`, if there is any.
    """
    share_skipped(data)
    return list_skipped(data.skipped, folder)


def list_skipped(skipped: Set[str], folder: Path) -> dict[str, float]:
    """Write the messages about skipped images to `skipped_images.txt`, and return their number as `report_skipped`."""
    if not skipped:
        return {}
    listing = folder / SKIPPED_LIST
    if is_rank_zero():
        write_text(listing, "\n".join(sorted(skipped)) + "\n")
    _log.warning("%d images could not be read; %s names them", len(skipped), listing)
    return {"data/skipped_images": len(skipped)}


def share_skipped(data: ImageDataModule) -> None:
    """Share the images that each process skipped with all others."""
    if dist.is_available() and dist.is_initialized():
        parts: list[set[str]] = [set()] * dist.get_world_size()
        dist.all_gather_object(parts, data.skipped)
        data.skipped.update(*parts)
