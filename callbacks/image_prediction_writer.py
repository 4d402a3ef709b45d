"""Callback that writes upscaled images to an output tree in background threads."""

import itertools
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.callbacks import BasePredictionWriter

from affect.stop_signals import Interruption
from affect.storage.upscaled_tree import UpscaledTree


class ImagePredictionWriter(BasePredictionWriter):
    """Encode and write the images of each batch in threads, and complete the tree's manifest at the end.

    Args:
        tree: Output tree; opened before the pass.
        rejected: Names and reasons of source entries that were not read, for the manifest.
        reduced: Names of source images whose samples are reduced to 8 bits, for the manifest.
        num_threads: Writing threads of each process; by default one per processor core, at most 8.
        max_waiting: Largest number of images waiting to be written before the pass blocks.
    """

    def __init__(
        self,
        tree: UpscaledTree,
        rejected: Sequence[tuple[str, str]] = (),
        reduced: Sequence[str] = (),
        num_threads: int | None = None,
        max_waiting: int = 256,
    ) -> None:
        super().__init__(write_interval="batch")
        self.tree = tree
        self.num_threads = num_threads or min(os.cpu_count() or 1, 8)
        self.max_waiting = max_waiting
        self.rejected = rejected
        self.reduced = reduced
        self._unreadable: list[tuple[str, str]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the threads."""
        self._unreadable = []
        self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="image-writer")

    def write_on_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, prediction: dict[str, Any], *args: Any
    ) -> None:
        """Submit the images to the threads; errors of earlier images are raised here."""
        assert self._pool is not None
        for group in prediction["groups"]:
            arrays = group["image"].permute(0, 2, 3, 1).contiguous().numpy()
            for name, array in zip(group["name"], arrays, strict=True):
                self._waiting.append(self._pool.submit(self.tree.write, name, array))
        self._unreadable.extend(tuple(pair) for pair in prediction["unreadable"])
        self._collect(self.max_waiting)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the last images of all processes, then complete the manifest."""
        self._collect(0)
        self._stop()
        parts = [self._unreadable]
        if dist.is_available() and dist.is_initialized():
            parts = parts * dist.get_world_size()
            dist.all_gather_object(parts, self._unreadable)
        if trainer.is_global_zero:
            self.tree.finish(itertools.chain(self.rejected, *parts), self.reduced)
        trainer.strategy.barrier("upscaled tree finished")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write all computed images if a signal stopped the pass; after an error, finish only writes in progress."""
        if isinstance(exception, Interruption):
            self._collect(0)
        self._stop()

    def _collect(self, allowed: int) -> None:
        while self._waiting and (len(self._waiting) > allowed or self._waiting[0].done()):
            self._waiting.popleft().result()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None
        self._waiting.clear()
