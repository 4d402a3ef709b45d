"""Samplers that share a data set among processes, reproducibly."""

from collections.abc import Iterator, Sized

import torch.distributed as dist
from torch.utils.data import DistributedSampler, Sampler


def process_share() -> tuple[int, int]:
    """Give this process's rank and the number of processes; (0, 1) outside distributed runs."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shuffled(dataset: Sized, seed: int) -> DistributedSampler:
    """Shuffle anew each epoch, from seed and epoch alone, so that a resumed run sees the same order."""
    rank, world_size = process_share()
    return DistributedSampler(dataset, world_size, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]


class ShardSampler(Sampler[int]):
    """Give each process every world_size-th sample, none twice: what metrics and predictions need."""

    def __init__(self, dataset: Sized) -> None:
        self.rank, self.world_size = process_share()
        self.length = len(dataset)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.length, self.world_size))

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world_size))
