from collections.abc import Iterator

import pytest
import torch

import datamodules.samplers
from datamodules.samplers import ShardSampler, ShuffleSampler, process_share


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Let a sampler believe that it is one of several processes."""

    def set_share(rank: int, world_size: int) -> None:
        monkeypatch.setattr(datamodules.samplers, "process_share", lambda: (rank, world_size))

    return set_share


def test_one_process_has_everything():
    assert process_share() == (0, 1)
    assert list(ShardSampler(range(7))) == list(range(7))
    assert sorted(ShuffleSampler(range(7), seed=0)) == list(range(7))


@pytest.mark.parametrize("count", [1, 7, 8, 100])
@pytest.mark.parametrize("world_size", [2, 3])
def test_shards_are_disjoint_and_complete(count: int, world_size: int, pretend):
    seen = []
    for rank in range(world_size):
        pretend(rank, world_size)
        sampler = ShardSampler(range(count))
        shard = list(sampler)
        assert len(sampler) == len(shard)
        assert shard == sorted(shard)
        seen += shard
    assert sorted(seen) == list(range(count))


def test_the_order_follows_seed_and_epoch():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShuffleSampler(range(50), seed)
        sampler.set_epoch(epoch)
        assert list(ShuffleSampler(range(50), seed, epoch)) == list(sampler)
        return list(sampler)

    assert order(1, 0) == order(1, 0)
    orders = [order(1, 0), order(1, 1), order(9, 0), order(9, 1)]
    assert len({tuple(one) for one in orders}) == 4


def test_training_shares_cover_the_set_in_equal_parts(pretend):
    shares = []
    for rank in range(3):
        pretend(rank, 3)
        shares.append(list(ShuffleSampler(range(20), seed=3)))
    assert {len(share) for share in shares} == {7}
    assert set().union(*shares) == set(range(20))


def test_the_workers_generator_follows_seed_epoch_and_process_alone(pretend):
    def draw(rank: int, seed: int, epoch: int) -> int:
        pretend(rank, 2)
        sampler = ShuffleSampler(range(9), seed)
        torch.rand(3, generator=sampler.generator)
        sampler.set_epoch(epoch)
        return int(torch.randint(2**60, (), generator=sampler.generator))

    cases = [(rank, seed, epoch) for rank in (0, 1) for seed in (1, 2) for epoch in (0, 1)]
    draws = [draw(*case) for case in cases]
    assert draws == [draw(*case) for case in cases]
    assert len(set(draws)) == len(cases)
