"""The heads' training against a plain loop written down independently."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from affect.head_losses import balanced_unit_weights
from affect.losses import inverse_frequency_weights
from callbacks.best_per_head import BestPerHead
from datamodules.feature_batches import TaskBatches
from datamodules.feature_table import FeatureTable
from datamodules.features import FeatureDataModule
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
    return FeatureTable(
        feature, labels, [f"v/{row}.jpg" for row in range(size)], torch.ones(size, dtype=torch.bool)
    )


def make_module(table: FeatureTable, network: str = "slice", **changes: object) -> HeadsModule:
    counts = torch.bincount(table.labels["expression"][table.labels["expression"] >= 0], minlength=8)
    torch.manual_seed(0)
    settings = {
        "network": network, "inputs": "both", "num_features": NUM_FEATURES, "num_outputs": NUM_OUTPUTS,
        "num_hidden": 16, "l2": 1 / 512, "class_weights": inverse_frequency_weights(counts.tolist()).tolist(),
        "unit_weights": balanced_unit_weights(table.labels["action_units"]).tolist(),
    }  # fmt: skip
    return HeadsModule(**{**settings, **changes})  # type: ignore[arg-type]


def fit(module: HeadsModule, data: FeatureDataModule, epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    return trainer


def plain_loop(task: str, table: FeatureTable, epochs: int, batch_size: int) -> dict[str, Tensor]:
    """Train one head alone, with the penalty written out in the loss."""
    head = make_module(table).heads.heads[task]  # the same start
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    counts = torch.bincount(table.labels["expression"][table.labels["expression"] >= 0], minlength=8)
    unit_weights = balanced_unit_weights(table.labels["action_units"])
    for epoch in range(epochs):
        for batch in TaskBatches(table, {task: table.labelled(task)}, batch_size, 1_000_003 * epoch):
            feature, target = batch[task]["feature"], batch[task][task]
            if task == "valence_arousal":
                outputs = head(feature[:, NUM_FEATURES:])
                terms = []
                for column in range(2):
                    x, y = outputs[:, column], target[:, column]
                    bottom = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2
                    terms.append(2 * ((x - x.mean()) * (y - y.mean())).mean() / bottom)
                loss = 1 - (terms[0] + terms[1]) / 2 + head[0].weight.square().sum() / 512
            elif task == "expression":
                weights = counts.max() / counts
                loss = F.cross_entropy(head(feature), target, weights) + head.weight.square().sum() / 512
            else:
                weight = torch.where(target == 1, unit_weights[1], unit_weights[0])
                loss = F.binary_cross_entropy(torch.sigmoid(head(feature)), target, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.state_dict()


def test_heads_side_by_side_equal_plain_loops_one_by_one() -> None:
    table = make_table(0, 400)
    epochs = {"expression": 2, "valence_arousal": 4, "action_units": 3}
    data = FeatureDataModule(table, None, epochs, batch_size=64)
    module = make_module(table)
    trainer = fit(module, data, 4)
    assert trainer.global_step == sum(
        max(-(-len(table.labelled(task)) // 64) for task in epochs if epochs[task] > epoch)
        for epoch in range(4)
    )
    for task, task_epochs in epochs.items():
        state = plain_loop(task, table, task_epochs, 64)
        for key, value in module.heads.heads[task].state_dict().items():
            torch.testing.assert_close(value, state[key], rtol=1e-4, atol=1e-5)


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
    data = FeatureDataModule(train, val, {"joint": 6}, batch_size=128)
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
