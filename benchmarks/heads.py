"""Benchmark of head training at s-Aff-Wild2's full size against TensorDataset + DataLoader and a bare loop.

    python -m benchmarks.heads [--repeats 8] [--rows 142333]

All candidates train the same "slice" network with the same losses and optimiser; an epoch goes once through the rows of
each task. The limit is the same arithmetic on one batch that stays in the cache.
"""

import resource
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from affect.tasks import TASKS
from benchmarks.timing import interleaved, parse_options, ratio_table, silent_trainer, write_results
from callbacks.best_per_head import BestPerHead
from datamodules.frozen_features.batches import TaskBatches
from datamodules.frozen_features.datamodule import FeatureDataModule
from datamodules.frozen_features.table import FeatureTable
from lightning_modules.heads import HeadsModule

ROWS: Final = 142_333
VALIDATION_ROWS: Final = 26_876
LABELLED: Final = {"valence_arousal": 103_917, "expression": 90_645, "action_units": 103_316}
WIDTH: Final = 1290
Epoch = Callable[[], HeadsModule]


def simulate(rows: int, labelled: dict[str, float], seed: int) -> FeatureTable:
    """Draw features of the real shape and labels that are missing in the real proportions."""
    generator = torch.Generator().manual_seed(seed)
    feature = torch.empty(rows, WIDTH).normal_(generator=generator)
    labels = {
        "valence_arousal": torch.rand(rows, 2, generator=generator) * 2 - 1,
        "expression": torch.randint(0, 8, (rows,), generator=generator),
        "action_units": (torch.rand(rows, 12, generator=generator) < 0.2).float(),
    }
    for task, share in labelled.items():
        hidden = torch.rand(rows, generator=generator) >= share
        labels[task][hidden] = -1 if task == "expression" else torch.nan
    return FeatureTable(feature, labels, [f"v/{row}.jpg" for row in range(rows)])


def new_module() -> HeadsModule:
    """Return newly initialised heads, the same at every call."""
    torch.manual_seed(0)
    return HeadsModule("slice", "both", WIDTH - 10, 10, l2=1 / 512)


def lightning_epoch(data: FeatureDataModule) -> Epoch:
    """Train an epoch as the experiment does."""

    def call() -> HeadsModule:
        module = new_module()
        trainer = silent_trainer(max_epochs=1, limit_val_batches=0, reload_dataloaders_every_n_epochs=1)
        trainer.fit(module, data)
        return module

    return call


def bare_epoch(batches: Callable[[], Iterator[dict[str, dict[str, Tensor]]]]) -> Epoch:
    """Train an epoch in a loop without Lightning."""

    def call() -> HeadsModule:
        module = new_module()
        heads = module.heads
        optimizer = module.configure_optimizers()
        for batch in batches():
            losses = [
                module.loss(task, heads.forward_group(task, part["feature"])[task], part[task])
                for task, part in batch.items()
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
        return module

    return call


def dataset_epoch(table: FeatureTable, batch_size: int) -> Epoch:
    """Train an epoch from a TensorDataset per task, sample by sample, one head after the other."""

    def call() -> HeadsModule:
        module = new_module()
        heads = module.heads
        optimizer = module.configure_optimizers()
        for task in TASKS:
            rows = table.labelled(task)
            subset = torch.utils.data.Subset(TensorDataset(table.feature, table.labels[task]), rows.tolist())
            for feature, target in DataLoader(subset, batch_size, shuffle=True):
                optimizer.zero_grad()
                module.loss(task, heads.forward_group(task, feature)[task], target).backward()
                optimizer.step()
        return module

    return call


def one_batch(data: FeatureDataModule) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Repeat an epoch's first batch as often as the epoch has batches, each task as often as it occurs."""
    sizes = {task: -(-len(rows) // data.batch_size) for task, rows in data.rows.items()}
    first = next(iter(TaskBatches(data.train, data.rows, data.batch_size, seed=0)))
    for step in range(max(sizes.values())):
        yield {task: first[task] for task, size in sizes.items() if step < size}


def benchmark(table: FeatureTable, batch_size: int, repeats: int) -> tuple[list[dict[str, Any]], str]:
    """Check that Lightning and the bare loop end with the same weights, then time all candidates, and these as pairs.

    Returns:
        The table's rows, and a sentence on what Lightning costs.
    """
    data = FeatureDataModule(table, None, dict.fromkeys(TASKS, 1), batch_size)
    ours, bare = (
        lightning_epoch(data),
        bare_epoch(lambda: iter(TaskBatches(table, data.rows, batch_size, seed=0))),
    )
    for (name, one), other in zip(ours().state_dict().items(), bare().state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    peer = f"TensorDataset + DataLoader, batch {batch_size}"
    seconds = interleaved(
        {
            peer: dataset_epoch(table, batch_size),
            f"ours, batch {batch_size}": ours,
            f"bare loop, batch {batch_size}": bare,
            f"limit, batch {batch_size}": bare_epoch(lambda: one_batch(data)),
        },
        repeats,
    )
    rows = ratio_table(seconds, peer, sum(len(rows) for rows in data.rows.values()), "rows")
    # Once more, each beside the other: the peer leaves caches cold and memory in pieces.
    pairs = interleaved({"ours": ours, "bare": bare}, 2 * repeats)
    ratios = [one / other for one, other in zip(pairs["ours"], pairs["bare"], strict=True)]
    note = (
        f"Lightning against the bare loop at batch {batch_size}, {len(ratios)} pairs: {median(ratios):.2f} times its "
        f"duration ({min(ratios):.2f} to {max(ratios):.2f})."
    )
    return [{key.replace(peer, "the peer"): value for key, value in row.items()} for row in rows], note


def full_trial(table: FeatureTable, epochs: int = 3) -> str:
    """Train some epochs with validation at full size; report time and memory."""
    val = simulate(VALIDATION_ROWS, {"expression": 0.574}, seed=1)
    module = new_module()
    data = FeatureDataModule(table, val, dict.fromkeys(TASKS, epochs), 512)
    keep_best = BestPerHead(module.monitors())
    trainer = silent_trainer(max_epochs=epochs, reload_dataloaders_every_n_epochs=1, callbacks=[keep_best])
    start = time.perf_counter()
    trainer.fit(module, data)
    seconds = (time.perf_counter() - start) / epochs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    features = (table.feature.nbytes + val.feature.nbytes) / 2**30
    return (
        f"Full size, {len(table)} x {WIDTH} for training and {len(val)} for validation, batch 512: {seconds:.2f} s "
        f"per epoch with its validation pass; peak memory {peak:.2f} GiB, of which features {features:.2f} GiB."
    )


def main() -> None:
    """Measure, and write benchmarks/results/heads.md."""
    arguments = parse_options(__doc__, repeats=8, rows=ROWS)
    table = simulate(arguments.rows, {task: count / ROWS for task, count in LABELLED.items()}, seed=0)
    trial = full_trial(table)
    measured = [benchmark(table, batch_size, arguments.repeats) for batch_size in (512, 4096)]
    write_results(
        "heads",
        [row for rows, _ in measured for row in rows],
        title="Training the three heads for an epoch",
        notes=[
            f"{arguments.rows} rows of {WIDTH} features; rows/s counts the rows of all tasks. Ours and the bare loop "
            "end with the same weights; the limit is their arithmetic on one batch.",
            *(note for _, note in measured),
            trial,
        ],
    )


if __name__ == "__main__":
    main()
