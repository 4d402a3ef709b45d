"""Samplers that share a data set among processes, reproducibly."""

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
    """Shuffle anew each epoch, from seed and epoch alone, so that a resumed run sees the same order.

    Args:
        dataset: What to shuffle.
        seed: Of the order.
        epoch: First epoch; workers fetch ahead before Lightning sets it.

    Attributes:
        generator: For the DataLoader, which seeds its workers from it: it follows the epoch too, and leaves the global
            random state alone.
    """

    def __init__(self, dataset: Sized, seed: int, epoch: int = 0) -> None:
        rank, world_size = process_share()
        super().__init__(dataset, world_size, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.generator = torch.Generator()
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Enter an epoch."""
        super().set_epoch(epoch)
        self.generator.manual_seed(hash((self.seed, epoch, self.rank)) % 2**63)


class ShardSampler(Sampler[int]):
    """Return each process every world_size-th sample, none twice: what metrics and predictions need."""

    def __init__(self, dataset: Sized) -> None:
        self.rank, self.world_size = process_share()
        self.length = len(dataset)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.length, self.world_size))

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world_size))
