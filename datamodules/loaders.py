"""DataLoaders whose workers have enough shared memory and a timeout."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from affect.errors import InvalidOptionError, UserError
from affect.stop_signals import ignore_stop_signals

SHARED_MEMORY: Final = Path("/dev/shm")
PREFETCH: Final = 2
"""Batches that each worker prepares ahead."""
TIMEOUT: Final = 300
"""Seconds to wait for a batch; workers on a slow network file system take long, but not minutes."""


class LoaderError(UserError):
    """The processes that read images lack shared memory, have died, or do not respond."""


def build_loader(
    dataset: Dataset[Any],
    num_workers: int,
    batch_bytes: int,
    sharing: int = 1,
    key: str = "data.num_workers",
    **options: Any,
) -> DataLoader:
    """Build a DataLoader of images.

    Args:
        dataset: Dataset to load.
        num_workers: Decoding processes; 0 decodes in the main one.
        batch_bytes: Size of a batch.
        sharing: Number of loaders that use the shared memory at once, this one included.
        key: The option that sets `num_workers`, for messages.
        **options: Further arguments of DataLoader.

    Raises:
        InvalidOptionError: If the workers' batches do not fit into the shared memory.
    """
    if num_workers:
        check_shared_memory(num_workers, batch_bytes, sharing, key)
        options |= {"prefetch_factor": PREFETCH, "timeout": TIMEOUT}
        cv2.setNumThreads(0)  # threads that are started before a fork hang the workers after it
    return DataLoader(
        dataset,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_stop_signals,
        **options,
    )


def check_shared_memory(num_workers: int, batch_bytes: int, sharing: int = 1, key: str = "data.num_workers") -> None:
    """Reject more workers than the shared memory has room for, since they would hang; arguments as in `build_loader`.

    Raises:
        InvalidOptionError: If there is too little room.
    """
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError:
        return  # systems without this folder have no such limit
    free = state.f_bavail * state.f_frsize
    per_worker = batch_bytes * PREFETCH * sharing
    used = batch_bytes * sharing  # the batch being computed with
    needed = num_workers * per_worker + used
    if needed <= free:
        return
    most = max(0, (free - used) // per_worker)
    megabytes = 2**20
    raise InvalidOptionError(
        f"{key}={num_workers}: the decoding processes need {-(-needed // megabytes)} MB of shared memory, but "
        f"{SHARED_MEMORY} has {free // megabytes} MB left. Start the container with --shm-size="
        f"{-(-2 * needed // 2**30)}g, or set {key}={most}"
    )


@contextlib.contextmanager
def loader_errors() -> Iterator[None]:
    """Convert PyTorch's errors about dead or unresponsive workers into a LoaderError, and kill the workers.

    Raises:
        LoaderError: Instead of a RuntimeError of that kind.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        if not reason.startswith("DataLoader ") or not ("worker" in reason or "timed out" in reason):
            raise
        _end_workers()
        raise LoaderError(
            f"{reason}. A process that reads images has ended or does not answer. Look for a disk or network folder "
            "that does not answer, for too little memory, or for too little shared memory (in a container: "
            "--shm-size=1g); num_workers=0 reads in the main process"
        ) from error


def _end_workers() -> None:
    """Kill this process's children: a stuck one would block the end of the program."""
    # PyTorch's handler would raise an error for each.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join(5)
    finally:
        signal.signal(signal.SIGCHLD, handler)
