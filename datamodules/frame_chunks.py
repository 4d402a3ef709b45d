"""Frames for feature extraction: one item is a whole chunk of a feature store, so that a chunk is always one batch."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from affect.feature_store_writer import FeatureStoreWriter
from affect.frames import video_of
from datamodules.images import InaccessibleImageError, UnreadableImageError, crop_and_resize, read_image
from datamodules.samplers import process_share
from datamodules.transforms import DeviceTransform


def survey_frames(folder: str | Path, names: Sequence[str]) -> tuple[str, list[str]]:
    """Look at the image files without reading them.

    Args:
        folder: What the names are relative to.
        names: Image ids.

    Returns:
        A digest of every image's size and time of change, which another state of the files does not have, and the ids
        that have no file.

    Raises:
        InaccessibleImageError: If a folder cannot be listed.
    """
    by_video: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_video[video_of(name)].append(name)
    digest = hashlib.sha256()
    missing = []
    for video, frames in by_video.items():
        states = _file_states(Path(folder) / video)
        for name in frames:
            state = states.get(name.rpartition("/")[2])
            digest.update(f"{name} {state}\n".encode())
            if state is None:
                missing.append(name)
    return digest.hexdigest(), missing


def _file_states(folder: Path) -> dict[str, tuple[int, int]]:
    try:
        with os.scandir(folder) as entries:
            states = ((entry.name, entry.stat()) for entry in entries if entry.is_file())
            return {name: (state.st_size, state.st_mtime_ns) for name, state in states}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InaccessibleImageError(f"{folder}: {error.strerror or error}") from error


class FrameChunks(Dataset[dict[str, Any]]):
    """Chunks of frames, decoded to uint8.

    Args:
        folder: What the names are relative to.
        chunks: Chunk numbers and the image ids of each.
        size: Side of the square images in pixels.
    """

    def __init__(self, folder: str | Path, chunks: Sequence[tuple[int, Sequence[str]]], size: int) -> None:
        self.folder = Path(folder)
        self.chunks = chunks
        self.size = size

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Give `image` (B, 3, H, W), `name`, `chunk` and `missing`: the reason by id of images left grey.

        Raises:
            InaccessibleImageError: If the system does not give an image: that may pass, so it is not kept as missing.
        """
        chunk, names = self.chunks[index]
        pixels = np.full((len(names), self.size, self.size, 3), 128, np.uint8)
        missing = {}
        for row, name in enumerate(names):
            try:
                # As stored, without EXIF's turns: so the network was trained.
                pixels[row] = crop_and_resize(read_image(self.folder / name, upright=False), None, self.size)
            except InaccessibleImageError:
                raise
            except UnreadableImageError as error:
                # Without the machine's path: the reason goes into the store, which is the same wherever it is made.
                missing[name] = str(error).removeprefix(f"{self.folder / name}: ")
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return {"image": image, "name": list(names), "chunk": chunk, "missing": missing}


class FrameChunksDataModule(pl.LightningDataModule):
    """Give each process the chunks of a store that are its own and not written yet.

    Args:
        folder: What the store's names are relative to.
        writer: The store in the making.
        image_size: Side of the square network input in pixels.
        mean: Channel means for normalisation, in [0, 1], RGB.
        std: Channel standard deviations, RGB.
        num_workers: Decoding processes; 0 decodes in the main one.
    """

    def __init__(
        self,
        folder: str | Path,
        writer: FeatureStoreWriter,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.writer = writer
        self.image_size = image_size
        self.num_workers = num_workers
        self.transform = DeviceTransform(mean, std)

    def prepare_data(self) -> None:
        """Make the store's folder, or find what a stopped run left there, before any process looks."""
        self.writer.prepare()

    def predict_dataloader(self) -> DataLoader:
        """Load the chunks left to do."""
        plan = self.writer.plan
        chunks = [(chunk, plan.names[plan.rows_of(chunk)]) for chunk in self.writer.pending(*process_share())]
        return DataLoader(
            FrameChunks(self.folder, chunks, self.image_size),
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_single_thread,
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise on the device."""
        return {**batch, "image": self.transform(batch["image"])}


def _single_thread(worker: int) -> None:
    """Keep OpenCV from starting its own threads inside each worker."""
    cv2.setNumThreads(0)
