"""Frames for feature extraction; one item is a whole chunk of a feature store, so that each batch is one chunk."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from affect.storage.feature_store_writer import FeatureStoreWriter
from datamodules.frame_survey import NO_FILE, FrameSurvey, check_unchanged
from datamodules.images.dataset import InaccessibleImageError, UnreadableImageError, read_image, resize
from datamodules.loaders import build_loader
from datamodules.samplers import process_share
from datamodules.transforms import DeviceTransform

ABSENT: Final = os.strerror(errno.ENOENT)
"""Reason recorded for a row whose image has no file."""


class FrameChunks(Dataset[dict[str, Any]]):
    """Chunks of frames, decoded to uint8.

    Args:
        survey: The files' state when the run began.
        chunks: Chunk numbers and the rows of the survey that each holds.
        size: Side of the square images in pixels.
    """

    def __init__(self, survey: FrameSurvey, chunks: Sequence[tuple[int, slice]], size: int) -> None:
        self.survey = survey
        self.chunks = chunks
        self.size = size

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `image` (B, 3, H, W), `name`, `chunk` and `missing`: reasons by id of the images left grey.

        Raises:
            InaccessibleImageError: If the system refuses access to an image, or it changed since the survey; this may
                be temporary, so the image is not recorded as missing.
        """
        chunk, rows = self.chunks[index]
        names = list(self.survey.names[rows])
        pixels = np.full((len(names), self.size, self.size, 3), 128, np.uint8)
        missing = {}
        for row, (name, state) in enumerate(zip(names, self.survey.states[rows], strict=True)):
            if state[0] == NO_FILE:
                missing[name] = ABSENT
                continue
            try:
                pixels[row] = self._read(self.survey.folder / name, state)
            except InaccessibleImageError:
                raise
            except UnreadableImageError as error:
                # Without the path: the reason is stored, and a store must not depend on where it is made.
                missing[name] = str(error).removeprefix(f"{self.survey.folder / name}: ")
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return {"image": image, "name": names, "chunk": chunk, "missing": missing}

    def _read(self, path: Path, state: NDArray[np.int64]) -> NDArray[np.uint8]:
        surveyed = False

        def check(status: os.stat_result) -> None:
            nonlocal surveyed
            check_unchanged(path, state, status)
            surveyed = True

        try:
            return resize(read_image(path, on_read=check), self.size)
        except UnreadableImageError as error:
            if surveyed or isinstance(error, InaccessibleImageError):
                raise
            raise InaccessibleImageError(
                f"{error}, but it existed when this run began; restore it and run again"
            ) from error


class FrameChunksDataModule(pl.LightningDataModule):
    """Load each process's share of the chunks of a store that are not written yet.

    Args:
        survey: State of the files of the store's names.
        writer: Writer of the store.
        image_size: Side of the square network input in pixels.
        mean: Channel means for normalisation, in [0, 1], RGB.
        std: Channel standard deviations, RGB.
        num_workers: Decoding processes; 0 decodes in the main one.
    """

    def __init__(
        self,
        survey: FrameSurvey,
        writer: FeatureStoreWriter,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.survey = survey
        self.writer = writer
        self.image_size = image_size
        self.num_workers = num_workers
        self.transform = DeviceTransform(mean, std)

    def prepare_data(self) -> None:
        """Create the store's folder, or reopen that of a stopped run, before any process reads it."""
        self.writer.prepare()

    def predict_dataloader(self) -> DataLoader:
        """Load the remaining chunks.

        Raises:
            FeatureStoreError: If the process that created the store's folder surveyed other files.
        """
        self.writer.check_plan()
        plan = self.writer.plan
        chunks = [(chunk, plan.rows_of(chunk)) for chunk in self.writer.pending(*process_share())]
        return build_loader(
            FrameChunks(self.survey, chunks, self.image_size),
            num_workers=self.num_workers,
            batch_bytes=plan.chunk_rows * 3 * self.image_size**2,
            sharing=self.trainer.num_devices if self.trainer else 1,
            batch_size=None,
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise on the device."""
        return {**batch, "image": self.transform(batch["image"])}
