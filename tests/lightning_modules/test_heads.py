"""The heads' training against a plain loop written down independently."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from affect.losses import balanced_unit_weights, inverse_frequency_weights
from callbacks.best_per_head import BestPerHead
from callbacks.history import History
from datamodules.frozen_features.batches import TaskBatches
from datamodules.frozen_features.datamodule import FeatureDataModule
from datamodules.frozen_features.table import FeatureTable
from lightning_modules.heads import HeadsModule

NUM_FEATURES, NUM_OUTPUTS = 12, 10


def make_table(seed: int, size: int) -> FeatureTable:
    """Draw features from which every label can be read, with labels missing by task."""
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(size, NUM_FEATURES + NUM_OUTPUTS, generator=generator)
    maps = torch.Generator().manual_seed(99)
    scores = feature @ torch.randn(NUM_FEATURES + NUM_OUTPUTS, 8, generator=maps)
    values = torch.tanh(feature[:, NUM_FEATURES:] @ torch.randn(NUM_OUTPUTS, 2, generator=maps) / 4)
    units = (feature @ torch.randn(NUM_FEATURES + NUM_OUTPUTS, 12, generator=maps) > 1).float()
    expression = scores.argmax(1)
    expression[torch.rand(size, generator=generator) < 0.3] = -1
    values[torch.rand(size, generator=generator) < 0.3] = torch.nan
    units[torch.rand(size, generator=generator) < 0.3] = torch.nan
    labels = {"expression": expression, "valence_arousal": values, "action_units": units}
    return FeatureTable(feature, labels, [f"v/{row}.jpg" for row in range(size)])


def make_module(table: FeatureTable, network: str = "slice", **changes: object) -> HeadsModule:
    counts = torch.bincount(table.labels["expression"][table.labels["expression"] >= 0], minlength=8)
    torch.manual_seed(0)
    settings = {
        "network": network, "inputs": "both", "num_features": NUM_FEATURES, "num_outputs": NUM_OUTPUTS,
        "num_hidden": 16, "l2": 1 / 512, "label_weights": {
            "expression": inverse_frequency_weights(counts.tolist()).tolist(),
            "action_units": balanced_unit_weights(table.labels["action_units"]).tolist(),
        },
    }  # fmt: skip
    return HeadsModule(**{**settings, **changes})  # type: ignore[arg-type]


def fit(module: HeadsModule, data: FeatureDataModule, epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), logger=False, enable_progress_bar=False,
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
    )  # fmt: skip
    trainer.fit(module, data)
    return trainer


def double(table: FeatureTable) -> FeatureTable:
    """Make the numbers float64, whose differently ordered sums agree after many steps."""
    labels = {task: values.double() if values.is_floating_point() else values for task, values in table.labels.items()}
    return replace(table, feature=table.feature.double(), labels=labels)


def plain_loss(task: str, outputs: Tensor, target: Tensor, table: FeatureTable) -> Tensor:
    """One task's loss over the rows that have its label, written down independently."""
    if task == "valence_arousal":
        known = ~target.isnan().any(1)
        terms = []
        for column in range(2):
            x, y = outputs[known, column], target[known, column]
            bottom = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2
            terms.append(2 * ((x - x.mean()) * (y - y.mean())).mean() / bottom)
        return 1 - (terms[0] + terms[1]) / 2
    if task == "expression":
        known = target >= 0
        counts = torch.bincount(table.labels["expression"][table.labels["expression"] >= 0], minlength=8)
        weights = (counts.max().float() / counts).double()
        chosen = outputs.log_softmax(1)[known, target[known]]
        return -(weights[target[known]] * chosen).sum() / known.sum()
    known = ~target.isnan()
    unit_weights = balanced_unit_weights(table.labels["action_units"]).double()
    weight = torch.where(target == 1, unit_weights[1], unit_weights[0])[known]
    chance, label = torch.sigmoid(outputs[known]), target[known]
    return -(weight * (label * chance.log() + (1 - label) * (1 - chance).log())).mean()


def plain_loop(task: str, table: FeatureTable, epochs: int, batch_size: int) -> tuple[dict[str, Tensor], list[float]]:
    """Train one head alone, with the penalty written out in the loss.

    Returns:
        Its weights, and the mean of each epoch's losses without the penalty.
    """
    head = make_module(table).double().heads.heads[task]  # the same start
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    means = []
    for epoch in range(epochs):
        losses = []
        for batch in TaskBatches(table, {task: table.labelled(task)}, batch_size, 1_000_003 * epoch):
            feature = batch[task]["feature"]
            outputs = head(feature[:, NUM_FEATURES:] if task == "valence_arousal" else feature)
            loss = plain_loss(task, outputs, batch[task][task], table)
            losses.append(loss.item())
            if task == "valence_arousal":
                loss = loss + head[0].weight.square().sum() / 512
            elif task == "expression":
                loss = loss + head.weight.square().sum() / 512
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        means.append(sum(losses) / len(losses))
    return head.state_dict(), means


def test_heads_side_by_side_equal_plain_loops_one_by_one(tmp_path: Path) -> None:
    table = double(make_table(0, 400))
    epochs = {"expression": 2, "valence_arousal": 4, "action_units": 3}
    data = FeatureDataModule(table, None, epochs, batch_size=64)
    module = make_module(table).double()
    history = History(tmp_path / "history.csv")
    trainer = fit(module, data, 4, history)
    assert trainer.global_step == sum(
        max(-(-len(table.labelled(task)) // 64) for task in epochs if epochs[task] > epoch) for epoch in range(4)
    )
    rows = pd.read_csv(tmp_path / "history.csv")
    for task, task_epochs in epochs.items():
        state, losses = plain_loop(task, table, task_epochs, 64)
        for key, value in module.heads.heads[task].state_dict().items():
            torch.testing.assert_close(value, state[key], rtol=1e-9, atol=1e-10)
        logged = rows[f"train/{task}_loss"].tolist()
        assert logged[:task_epochs] == pytest.approx(losses, rel=1e-5), "row k holds epoch k's loss"
        assert np.isnan(logged[task_epochs:]).all(), "a head that no longer trains has no loss"


def test_the_joint_network_is_penalised_on_all_layers_and_judged_by_its_loss() -> None:
    table, val = double(make_table(8, 300)), double(make_table(9, 100))
    data = FeatureDataModule(table, val, {"joint": 3}, batch_size=64, tasks={"joint": tuple(table.labels)})
    module = make_module(table, "joint", l2=1 / 256, learning_rate=1e-2).double()
    best = BestPerHead(module.monitors())
    trainer = fit(module, data, 3, best)

    net = make_module(table, "joint").double().heads
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)

    def penalty() -> Tensor:
        layers = (net.valence_arousal, net.expression, net.action_units)
        return torch.stack([layer.weight.square().sum() for layer in layers]).sum() / 256

    def total(batch: Mapping[str, Tensor]) -> Tensor:
        outputs = net(batch["feature"])
        losses = [plain_loss(task, values, batch[task], table) for task, values in outputs.items()]
        return torch.stack(losses).sum() + penalty()

    val_losses, states = [], []
    rows = torch.arange(len(table))
    for epoch in range(3):
        for batch in TaskBatches(table, {"joint": rows}, 64, 1_000_003 * epoch, {"joint": tuple(table.labels)}):
            optimizer.zero_grad()
            total(batch["joint"]).backward()
            optimizer.step()
        with torch.no_grad():
            val_losses.append(float(total({"feature": val.feature, **val.labels})))
        states.append({key: value.clone() for key, value in net.state_dict().items()})
    assert best.best_value["heads"] == pytest.approx(min(val_losses), rel=1e-5)
    assert best.best_epoch["heads"] == 1 + int(np.argmin(val_losses))
    chosen = states[int(np.argmin(val_losses))]
    for key, value in module.heads.state_dict().items():
        torch.testing.assert_close(value, chosen[key], rtol=1e-9, atol=1e-10)
    scores = trainer.validate(module, data, verbose=False)[0]
    assert scores["val/joint_loss"] == pytest.approx(min(val_losses), rel=1e-5)


def test_heads_learn_and_keep_their_own_best_epochs() -> None:
    train, val = make_table(1, 3000), make_table(2, 600)
    module = make_module(train, learning_rate=1e-2)
    best = BestPerHead(module.monitors())
    data = FeatureDataModule(train, val, dict.fromkeys(train.labels, 6), batch_size=128)
    trainer = fit(module, data, 6, best)
    scores = trainer.validate(module, data, verbose=False)[0]
    assert scores["val/mtl_score"] > 2
    assert set(best.best_epoch) == set(module.monitors())
    assert scores["val/expression_accuracy"] == pytest.approx(best.best_value["heads.heads.expression"])
    assert scores["val/valence_arousal_loss"] == pytest.approx(best.best_value["heads.heads.valence_arousal"])
    assert scores["val/action_units_loss"] == pytest.approx(best.best_value["heads.heads.action_units"])


def test_joint_heads_learn_from_partly_labelled_rows() -> None:
    train, val = make_table(3, 3000), make_table(4, 600)
    module = make_module(train, "joint", learning_rate=1e-2, l2=0.0)
    data = FeatureDataModule(train, val, {"joint": 6}, batch_size=128, tasks={"joint": tuple(train.labels)})
    trainer = fit(module, data, 6, BestPerHead(module.monitors()))
    assert trainer.validate(module, data, verbose=False)[0]["val/mtl_score"] > 2


def test_unlabelled_validation_tasks_are_left_out() -> None:
    train, val = make_table(6, 200), make_table(7, 60)
    val.labels["action_units"][:] = torch.nan
    val.labels["expression"][:] = -1
    module = make_module(train)
    data = FeatureDataModule(train, val, dict.fromkeys(train.labels, 1), batch_size=64)
    scores = fit(module, data, 1).validate(module, data, verbose=False)[0]
    assert set(scores) == {"val/valence_ccc", "val/arousal_ccc", "val/va_ccc", "val/valence_arousal_loss"}
