"""Samplers that split a data set among processes reproducibly."""

from collections.abc import Iterator, Sized

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler, Sampler


def process_share() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) outside distributed runs."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class ShuffleSampler(DistributedSampler):
    """Shuffle in each epoch by seed and epoch only, so that a resumed run sees the same order.

    Args:
        dataset: Dataset to shuffle.
        seed: Seed of the order.
        epoch: First epoch; workers fetch ahead before Lightning sets it.

    Attributes:
        generator: Seeds the DataLoader's workers; it depends on the epoch too and leaves the global random state
            unchanged.
    """

    def __init__(self, dataset: Sized, seed: int, epoch: int = 0) -> None:
        rank, world_size = process_share()
        super().__init__(dataset, world_size, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.generator = torch.Generator()
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order."""
        super().set_epoch(epoch)
        self.generator.manual_seed(hash((self.seed, epoch, self.rank)) % 2**63)


class ShardSampler(Sampler[int]):
    """Assign every world_size-th sample to each process, none twice, as metrics and predictions need."""

    def __init__(self, dataset: Sized) -> None:
        self.rank, self.world_size = process_share()
        self.length = len(dataset)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.length, self.world_size))

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world_size))
