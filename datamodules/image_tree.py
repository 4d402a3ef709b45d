"""Any folder tree of images as fixed batches for a predict pass, whatever the sizes."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.images import UnreadableImageError, read_image
from datamodules.samplers import process_share


@dataclass(frozen=True)
class ImageTree:
    """The images below a folder.

    Attributes:
        root: The folder, resolved.
        names: Paths relative to it, `/`-separated, sorted.
        rejected: Names and reasons of entries that are not read: symbolic links that leave the folder or lead to
            folders.
        digest: SHA-256 over names, sizes and times of change.
    """

    root: Path
    names: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    digest: str


def scan_images(root: str | Path, suffixes: Sequence[str] = (".jpg", ".jpeg", ".png")) -> ImageTree:
    """List the images below a folder; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    found: list[tuple[str, int, int]] = []
    rejected: list[tuple[str, str]] = []
    for entry in _walk(root):
        name = Path(entry.path).relative_to(root).as_posix()
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if target.is_dir():
                rejected.append((name, "a symbolic link to a folder is not followed"))
                continue
            if root not in target.parents:
                rejected.append((name, "a symbolic link that leaves the folder"))
                continue
        if not name.lower().endswith(tuple(suffixes)):
            continue
        try:
            status = entry.stat()
        except OSError as error:
            rejected.append((name, str(error.strerror)))
            continue
        found.append((name, status.st_size, status.st_mtime_ns))
    if not found:
        raise FileNotFoundError(f"no images in {root} (looked for {', '.join(suffixes)} at any depth)")
    found.sort()
    digest = hashlib.sha256()
    for name, size, changed in found:
        digest.update(os.fsencode(name) + f"\0{size}\0{changed}\0".encode())
    return ImageTree(root, tuple(name for name, _, _ in found), tuple(sorted(rejected)), digest.hexdigest())


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield entry


class ImageBatches(Dataset[dict[str, Any]]):
    """Consecutive images, decoded a batch at a time.

    A batch always holds the same images, however many processes share the work and however often it is resumed, so that
    results cannot depend on either.

    Args:
        tree: The images.
        batch_size: Images in a batch.
    """

    def __init__(self, tree: ImageTree, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, not {batch_size}")
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
    """Every image below a folder, once over all processes, for `Trainer.predict`.

    Give the Trainer `use_distributed_sampler=False`: the batches are shared among the processes here.

    Args:
        tree: The images.
        batch_size: Images in a batch.
        num_workers: Decoding processes; 0 decodes in the main one.
        is_finished: Tells by an image's name whether its result is there already; a batch of nothing else is skipped.
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
        """Give this process every world_size-th batch, without those that are finished."""
        rank, world_size = process_share()
        share = list(range(rank, len(self.batches), world_size))
        if self.is_finished is not None:
            done = self.is_finished
            share = [index for index in share if not all(done(name) for name in self.batches.names(index))]
        # A process without a batch would leave the pass early and let the others wait for it: it repeats one.
        return DataLoader(
            Subset(self.batches, share or [rank % len(self.batches)]),
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
        )


def _as_it_is(batch: Any) -> Any:
    return batch
