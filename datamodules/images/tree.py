"""A folder tree of images of any sizes, in fixed batches for a predict pass."""

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Subset

from affect.errors import InvalidOptionError, MissingFileError
from affect.storage.fingerprint import states_digest
from affect.storage.image_suffixes import JPEG_SUFFIXES, SUFFIXES, has_image_suffix, is_hidden
from datamodules.images.decoding import UnreadableImageError, is_deep, read_header, read_image
from datamodules.loaders import build_loader
from datamodules.samplers import process_share


@dataclass(frozen=True)
class ImageTree:
    """The images below a folder.

    Attributes:
        root: The folder, resolved.
        names: Paths relative to it, `/`-separated, sorted.
        rejected: Names and reasons of entries that are not read: non-regular files, dead links, and links to a folder
            above them.
        ignored: Names of files without the suffix of an image.
        digest: `states_digest` of the images.
        linked: Folders and files, resolved, that links below `root` point to.
    """

    root: Path
    names: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    digest: str
    linked: tuple[Path, ...] = ()


def scan_images(root: str | Path) -> ImageTree:
    """List the images below a folder; hidden files and folders are skipped.

    Links are followed, except to a folder that contains them, which would add files from outside the tree.

    Raises:
        MissingFileError: If there is no such folder, or no image in it.
        UnreadableImageError: If a folder cannot be listed; the number of images in it is unknown.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise MissingFileError(f"no folder {root}")
    found: list[tuple[str, int, int]] = []
    rejected: list[tuple[str, str]] = []
    ignored: list[str] = []
    linked: set[Path] = set()
    above = frozenset(_identity(folder.stat()) for folder in root.parents)
    for path, state in _walk(root, above, linked):
        name = path.relative_to(root).as_posix()
        if isinstance(state, str):
            rejected.append((name, state))
        elif state is None:
            ignored.append(name)
        else:
            found.append((name, state.st_size, state.st_mtime_ns))
    if not found:
        other = f"; other files are there, for example {ignored[0]}" if ignored else ""
        raise MissingFileError(f"no images in {root} (looked for {', '.join(SUFFIXES)} at any depth){other}")
    found.sort()
    names = tuple(name for name, _, _ in found)
    return ImageTree(
        root,
        names,
        tuple(sorted(rejected)),
        tuple(sorted(ignored)),
        states_digest(found),
        tuple(sorted(linked)),
    )


def deep_images(tree: ImageTree) -> list[str]:
    """List the images with samples of over 8 bits, which decoding reduces to 8; JPEGs are not opened."""
    return [
        name for name in tree.names if Path(name).suffix.lower() not in JPEG_SUFFIXES and _is_deep(tree.root / name)
    ]


def _is_deep(path: Path) -> bool:
    try:
        return is_deep(path)
    except UnreadableImageError:  # reported when it is read
        return False


def _walk(
    folder: Path, above: frozenset[tuple[int, int]], linked: set[Path]
) -> Iterator[tuple[Path, os.stat_result | str | None]]:
    """Yield the entries below a folder: images with their status or the reason for rejection, other files with None.

    Args:
        folder: Where to look.
        above: Device and inode of the folders on the way there, to recognise circular links.
        linked: Set to which the targets of links are added.
    """
    try:
        status = folder.stat()
        paths = [path for path in folder.iterdir() if not is_hidden(path.name)]
        folders = {path for path in paths if path.is_dir()}
    except OSError as error:
        raise UnreadableImageError(
            f"{error.filename} cannot be listed: {error.strerror}; allow reading it, or move it elsewhere"
        ) from error
    identity = _identity(status)
    if identity in above:
        yield folder, "a link back to a folder above it"
        return
    for path in paths:
        if path.is_symlink() and path.exists() and (path in folders or has_image_suffix(path.name)):
            target = path.resolve()
            if path not in folders or _identity(target.stat()) not in above | {identity}:
                linked.add(target)
        if path in folders:
            yield from _walk(path, above | {identity}, linked)
        else:
            yield path, _status(path) if has_image_suffix(path.name) else None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _status(path: Path) -> os.stat_result | str:
    """Return a file's status, or why it was rejected."""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.strerror)
    return status if stat.S_ISREG(status.st_mode) else "not a regular file"


class ImageBatches(Dataset[dict[str, Any]]):
    """Consecutive images, decoded a batch at a time.

    A batch always holds the same images, whatever the number of processes and however often the pass is resumed, so
    that results depend on neither.

    Args:
        tree: The images.
        batch_size: Images in a batch.
    """

    def __init__(self, tree: ImageTree, batch_size: int) -> None:
        if batch_size < 1:
            raise InvalidOptionError(f"batch_size must be positive, not {batch_size}")
        self.root = tree.root
        self.batch_size = batch_size
        # One array of fixed-width text: a list of strings would be copied into every worker page by page.
        self._names = np.asarray(tree.names, dtype=np.str_)

    def __len__(self) -> int:
        return -(-len(self._names) // self.batch_size)

    def names(self, index: int) -> list[str]:
        """Return the names of a batch's images."""
        start = index * self.batch_size
        return self._names[start : start + self.batch_size].tolist()

    def num_bytes(self, index: int) -> int:
        """Estimate a batch's size in bytes from its files' headers."""
        pixels = 0
        for name in self.names(index):
            with contextlib.suppress(UnreadableImageError):  # reported when it is read
                header = read_header(self.root / name)
                pixels += header.width * header.height
        return 3 * pixels

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode a batch.

        Returns:
            `groups`, one per image size: `image` as uint8 RGB (B, 3, H, W) in channels-last memory order and `name`;
            and `unreadable`, pairs of name and reason.
        """
        by_size: dict[tuple[int, ...], list[tuple[str, NDArray[np.uint8]]]] = defaultdict(list)
        unreadable: list[tuple[str, str]] = []
        for name in self.names(index):
            path = self.root / name
            try:
                image = read_image(path)
            except UnreadableImageError as error:
                unreadable.append((name, str(error).removeprefix(f"{path}: ")))
            else:
                by_size[image.shape].append((name, image))
        groups = [
            {
                "image": torch.from_numpy(np.stack([image for _, image in members])).permute(0, 3, 1, 2),
                "name": [name for name, _ in members],
            }
            for members in by_size.values()
        ]
        return {"groups": groups, "unreadable": unreadable}


class ImageTreeDataModule(pl.LightningDataModule):
    """Load every image below a folder once over all processes, for `Trainer.predict`.

    The Trainer needs `use_distributed_sampler=False`: this module shares the batches among the processes.

    Args:
        tree: The images.
        batch_size: Images in a batch.
        num_workers: Decoding processes; 0 decodes in the main one.
        is_finished: Whether an image's result exists already, by its name; batches that are all finished are skipped.
    """

    def __init__(
        self,
        tree: ImageTree,
        batch_size: int = 16,
        num_workers: int = 0,
        is_finished: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__()
        self.batches = ImageBatches(tree, batch_size)
        self.num_workers = num_workers
        self.is_finished = is_finished

    def predict_dataloader(self) -> DataLoader:
        """Load every world_size-th batch, without those that are finished."""
        rank, world_size = process_share()
        share = list(range(rank, len(self.batches), world_size))
        if self.is_finished is not None:
            done = self.is_finished
            share = [index for index in share if not all(done(name) for name in self.batches.names(index))]
        # A process without batches would end the pass early and block the others: it repeats one instead.
        share = share or [rank % len(self.batches)]
        return build_loader(
            Subset(self.batches, share),
            num_workers=self.num_workers,
            batch_bytes=self.batches.num_bytes(share[0]) if self.num_workers else 0,
            sharing=self.trainer.num_devices if self.trainer else 1,
            key="upscaling.num_workers",
            batch_size=None,
            collate_fn=_unchanged,
        )


def _unchanged(batch: Any) -> Any:
    return batch
