"""Base class of the image DataModules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Sampler

from affect.errors import InvalidFileError
from datamodules.images.dataset import ImageDataset, UnreadableImageError, collate_images
from datamodules.loaders import build_loader
from datamodules.samplers import ShardSampler, ShuffleSampler
from datamodules.transforms import DeviceTransform


class ImageDataModule(pl.LightningDataModule):
    """Load uint8 images in workers; normalise and flip them on the device.

    Subclasses fill `datasets` by split name (`train`, `val`, `test`, `predict`) in `setup`.

    Batch normalisation cannot train on a batch of one image. A last training batch of one is left out (another image
    each epoch, as they are shuffled), and so is the only readable image of a training batch.

    Args:
        image_size: Side of the square network input in pixels.
        mean: Channel means for normalisation, in [0, 1], RGB.
        std: Channel standard deviations for normalisation, RGB.
        batch_size: Samples per process and step.
        num_workers: Decoding processes; 0 decodes in the main one.
        on_corrupt: `raise` or `skip` unreadable images; a batch of unreadable images only has B = 0.
        flip: Probability of a horizontal flip while training.
        grey: Probability of a grey-scale image while training.
        seed: Seed of the order of training samples.

    Attributes:
        skipped: Reasons, one per skipped image, collected as batches arrive.
    """

    def __init__(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        num_workers: int,
        on_corrupt: str = "raise",
        flip: float = 0.0,
        grey: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.on_corrupt = on_corrupt
        self.seed = seed
        self.transform = DeviceTransform(mean, std, flip, grey)
        self.datasets: dict[str, ImageDataset] = {}
        self.skipped: set[str] = set()
        self._any_read = False
        self._unread: set[str] = set()
        self._known_missing: set[str] = set()

    def check_files(self) -> list[str]:
        """Check that every listed image has a file, before any is read; with `skip`, missing ones count as skipped.

        Returns:
            Path and reason of each image that is missing or known to be unreadable, in order of the lists.

        Raises:
            UnreadableImageError: If no image of a split can be read.
        """
        found: list[str] = []
        for split, dataset in self.datasets.items():
            dataset.find_missing()
            messages = list(dataset.unreadable.values())
            if messages and np.isin(dataset.paths, list(dataset.unreadable)).all():
                raise UnreadableImageError(
                    f"not one of the {len(dataset)} images of the {split} list can be read, for example "
                    f"{messages[0]}; is the set unpacked there, and is this the right folder?"
                )
            found += messages
        self._known_missing = set(found)
        if self.on_corrupt == "skip":
            self.skipped |= self._known_missing
        return found

    def train_dataloader(self) -> DataLoader:
        """Load the training samples, shuffled by seed and epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        """Load every validation sample once over all processes."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        """Load every test sample once over all processes."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Load every sample to predict once over all processes."""
        return self._loader("predict")

    def _loader(self, split: str) -> DataLoader:
        dataset = self.datasets[split]
        sampler: Sampler[int] = ShardSampler(dataset)
        generator = None
        leave_out_last = False
        if split == "train":
            # Not current_epoch: a resumed run sets it only after requesting this loader.
            progress: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
            sampler = ShuffleSampler(dataset, self.seed, progress.processed if progress else 0)
            generator = sampler.generator
            if len(sampler) < 2:
                raise InvalidFileError(
                    f"{len(dataset)} training image(s) for {sampler.num_replicas} process(es): each needs two at least"
                )
            leave_out_last = len(sampler) % self.batch_size == 1
        # Workers live for one epoch: their seeds then follow from the epoch's, also in a resumed run.
        return build_loader(
            dataset,
            num_workers=self.num_workers,
            batch_bytes=self.batch_size * 3 * self.image_size**2,
            # Validation within an epoch has workers of its own beside those of training.
            sharing=(2 if split == "train" else 1) * (self.trainer.num_devices if self.trainer else 1),
            batch_size=self.batch_size,
            sampler=sampler,
            generator=generator,
            drop_last=leave_out_last,
            collate_fn=collate_images,
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise (and flip while training) on the device; record skipped images.

        Raises:
            UnreadableImageError: If several images were skipped and none could be read.
        """
        skipped = set(batch.pop("skipped", ()))
        self.skipped |= skipped
        if not batch["name"]:
            self._unread |= skipped - self._known_missing
            if not self._any_read and len(self._unread) > 1:
                raise UnreadableImageError(
                    f"not one of the first {len(self._unread)} images could be read, for example "
                    f"{min(self._unread)}; is this the right folder?"
                )
            return {**batch, "image": batch["image"].float()}
        self._any_read = True
        training = self.trainer is not None and self.trainer.training
        if training and len(batch["name"]) == 1 < self.batch_size:
            batch = {key: value[:0] for key, value in batch.items()}
            return {**batch, "image": batch["image"].float()}
        return {**batch, "image": self.transform(batch["image"], training)}
