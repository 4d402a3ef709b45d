"""Missing and unreadable images: found before anything is computed, and listed in the run folder."""

from collections.abc import Set
from pathlib import Path
from typing import Final

import torch.distributed as dist
from rich.markup import escape

from affect.storage.atomic_write import write_text
from datamodules.base import ImageDataModule
from datamodules.images.dataset import UnreadableImageError
from experiments.runtime.run import Run

MISSING_LIST: Final = "missing_images.txt"
SKIPPED_LIST: Final = "skipped_images.txt"


def check_images(run: Run, data: ImageDataModule) -> None:
    """Look for the files of all listed images, before any is read.

    Raises:
        UnreadableImageError: If an image is missing or known to be unreadable and `data.on_corrupt` is `raise`; the
            run folder then has a list of all in `missing_images.txt`.
    """
    found = data.check_files()
    listing = run.folder / MISSING_LIST
    if not found:
        return
    if data.on_corrupt == "raise" and run.is_first:
        write_text(listing, "\n".join(found) + "\n")
    message = refuse_missing(data, found, listing)
    run.say(f"[yellow]{escape(message)}[/]")


def refuse_missing(data: ImageDataModule, found: list[str], listing: Path) -> str:
    """Stop at missing images, unless they are to be left out.

    Args:
        data: The images.
        found: What `data.check_files` found.
        listing: File that lists all of them.

    Returns:
        What is to be said of them, where they are left out.

    Raises:
        UnreadableImageError: If `data.on_corrupt` is `raise`.
    """
    total = sum(len(dataset) for dataset in data.datasets.values())
    count = f"{len(found)} of {total} listed images are missing or unreadable"
    if data.on_corrupt == "raise":
        shown = "\n".join(found[:10])
        raise UnreadableImageError(
            f"{count}:\n{shown}\nAll are listed in {listing}. Restore them, or leave them out with "
            "data.on_corrupt=skip"
        )
    return f"{count} and left out, for example {found[0]}"


def report_skipped(run: Run, data: ImageDataModule, folder: Path) -> dict[str, float]:
    """List the images that were left out in `skipped_images.txt`, and count them.

    Args:
        run: The run.
        data: The images; afterwards every process knows those that any has skipped.
        folder: Where the list goes.

    Returns:
        `data/skipped_images`, if there is any.
    """
    share_skipped(data)
    return list_skipped(run, data.skipped, folder)


def list_skipped(run: Run, skipped: Set[str], folder: Path) -> dict[str, float]:
    """Write the list of `report_skipped` from the messages, and give the count."""
    if not skipped:
        return {}
    listing = folder / SKIPPED_LIST
    if run.is_first:
        write_text(listing, "\n".join(sorted(skipped)) + "\n")
    run.say(f"[yellow]{len(skipped)} images could not be read; {listing} names them[/]")
    return {"data/skipped_images": len(skipped)}


def share_skipped(data: ImageDataModule) -> None:
    """Tell every process of the images that the others skipped."""
    if dist.is_available() and dist.is_initialized():
        parts: list[set[str]] = [set()] * dist.get_world_size()
        dist.all_gather_object(parts, data.skipped)
        data.skipped.update(*parts)
