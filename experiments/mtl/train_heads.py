"""Train heads on features in memory, and predict with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from affect.errors import UserError
from affect.networks.head_file import HeadsSpec
from affect.networks.heads import NETWORKS, HeadNetwork
from affect.storage.feature_store import FeatureStore
from affect.tasks import TASKS, predictions
from callbacks.best_per_head import BestPerHead
from callbacks.history import History
from datamodules.frozen_features.batches import Slices
from datamodules.frozen_features.datamodule import FeatureDataModule
from datamodules.frozen_features.table import FeatureTable, feature_table
from datamodules.readers.aff_wild2 import Annotations
from experiments.mtl.config import HeadsConfig
from experiments.runtime.fit import FitSettings
from experiments.runtime.trainer import build_trainer
from lightning_modules.heads import HeadsModule


@dataclass(frozen=True)
class TrainedHeads:
    """Heads with the weights that they keep.

    Attributes:
        module: The trained module.
        spec: How the heads were built.
        best_epoch: By head, the epoch kept, from 1; empty if the last ones were kept.
        history: One row per epoch.
    """

    module: HeadsModule
    spec: HeadsSpec
    best_epoch: dict[str, int]
    history: pd.DataFrame


def labelled_table(store: FeatureStore, annotations: Annotations) -> FeatureTable:
    """Join features to annotation rows, in memory."""
    return feature_table(store.features, annotations.labels, annotations.name, store.rows(annotations.name))


def train_heads(
    settings: FitSettings, config: HeadsConfig, spec: HeadsSpec, train: FeatureTable, val: FeatureTable | None
) -> TrainedHeads:
    """Train the heads of one network.

    Args:
        settings: Devices, limits and seed; `history.csv` goes to its folder, and the curves to its logger, if any.
        config: Epochs, batch sizes and learning rate.
        spec: Network to build.
        train: Training rows.
        val: Validation rows, on which each head's best epoch is chosen; None trains for the epochs of a refit and keeps
            the last.
    """
    torch.manual_seed(settings.seed)
    module = HeadsModule(
        spec.network, spec.inputs, spec.num_features, spec.num_outputs, spec.num_hidden,
        learning_rate=config.learning_rate,
        l2=config.l2_of(spec.network), label_weights=label_weights(train),
    )  # fmt: skip
    epochs = config.epochs_by_group(spec.network, refit=val is None)
    limit = settings.trainer.limit_train_batches
    data = FeatureDataModule(
        train, val, epochs, config.batch_size_of(spec.network), settings.seed, limit, NETWORKS[spec.network].groups
    )  # fmt: skip
    best = BestPerHead(module.monitors())
    callbacks: list[pl.Callback] = [best] if val is not None else []
    history = History((settings.folder or Path()) / "history.csv")
    if settings.folder is not None:
        callbacks.append(history)
    most = max(epochs.values())
    trainer = build_trainer(
        settings.trainer,
        [*settings.callbacks, *callbacks],
        max_epochs=most if settings.trainer.max_epochs is None else min(settings.trainer.max_epochs, most),
        devices=1,  # seconds of work: not worth sharing out
        strategy="auto",
        num_nodes=1,
        reload_dataloaders_every_n_epochs=1,
        enable_checkpointing=settings.folder is not None,  # for History, which Lightning counts as a checkpoint
        log_every_n_steps=1,
        limit_train_batches=1.0,  # the data module counts steps
        limit_val_batches=1.0 if val is not None else 0,
        logger=settings.logger or False,
    )
    trainer.fit(module, data)
    return TrainedHeads(
        module,
        spec,
        {name.rpartition(".")[2]: epoch for name, epoch in best.best_epoch.items()},
        history.table(),
    )


def label_weights(table: FeatureTable) -> dict[str, Any]:
    """Compute each task's label weights over the rows with an image, as lists; tasks without weights are absent."""
    weights = {task: TASKS[task].label_weights(table.labels[task][table.present]) for task in TASKS}
    return {task: values.tolist() for task, values in weights.items() if values is not None}


def predict_rows(heads: HeadNetwork, table: FeatureTable) -> dict[str, np.ndarray]:
    """Predict probabilities by task for every row of a table.

    Returns:
        `expression` (N, 8), `valence_arousal` (N, 2), `action_units` (N, 12), float32; NaN where a row has no image
        (`Calibrator.apply` fills it).

    Raises:
        UserError: If a row with an image gets something else than numbers.
    """
    with torch.inference_mode():
        parts = [predictions(heads(part["feature"])) for part in Slices(table)]
    preds = {task: torch.cat([part[task] for part in parts]).numpy() for task in parts[0]}
    present = table.present.numpy()
    for task, values in preds.items():
        if not np.isfinite(values[present]).all():
            raise UserError(f"the {task} head gives no numbers: it has diverged; lower heads.learning_rate")
    return preds
