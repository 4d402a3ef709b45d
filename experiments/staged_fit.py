"""Fit a backbone in stages, and evaluate what the last stage kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from callbacks.finite_loss import FiniteLoss
from callbacks.history import History
from callbacks.staged_training import Stage, StagedTraining
from callbacks.throughput import Throughput
from callbacks.validation_outputs import ValidationOutputs
from experiments.runner import Run


@dataclass(frozen=True)
class FitResult:
    """What a fit gives.

    Attributes:
        metrics: Scores of the weights kept, and `train/images_per_second`; only what could be measured.
        outputs: The network's outputs and the labels on the validation set, of the weights kept.
        history: One row per epoch.
    """

    metrics: dict[str, float]
    outputs: ValidationOutputs
    history: pd.DataFrame


def fit_in_stages(
    run: Run,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    stages: Sequence[Stage],
    monitor: str,
    callbacks: Sequence[Callback] = (),
    name: str = "",
) -> FitResult:
    """Train through the stages (or go on where the run stopped) and validate the best weights of the last one.

    Args:
        run: The run; checkpoints and history go to its folder.
        module: A StagedTrainingModule; it ends with the weights kept.
        data: Its images.
        stages: What trains when.
        monitor: Validation metric that chooses the weights, best when largest.
        callbacks: Others to call.
        name: Of this fit, where a run has several; a folder below the run folder.
    """
    folder = run.folder / name
    staged = StagedTraining(stages, monitor, run.config.seed)
    outputs, history, throughput = ValidationOutputs(), History(folder / "history.csv"), Throughput()
    # Two callbacks, since save_last writes only when the best one is written, and a resumed run would fall back to it.
    best, last = (
        ModelCheckpoint(
            folder / "checkpoints", name, monitor=monitored, mode="max", save_on_train_epoch_end=True,
            enable_version_counter=False,
        ) for name, monitored in (("best", monitor), ("last", None))
    )  # fmt: skip
    limit = run.config.trainer.max_epochs
    trainer = run.trainer(
        [staged, FiniteLoss(), throughput, history, outputs, *callbacks, best, last],
        max_epochs=staged.num_epochs if limit is None else min(limit, staged.num_epochs),
    )
    trainer.fit(module, data, ckpt_path=run.resume_checkpoint(name), weights_only=True)
    staged.restore_best(module)  # fit does it too, unless a resumed run had nothing left to train
    metrics = validated(trainer, module, data)
    if throughput.images_per_second is not None:
        metrics["train/images_per_second"] = throughput.images_per_second
    return FitResult(metrics, outputs, history.table())


def evaluate(
    run: Run, module: pl.LightningModule, data: pl.LightningDataModule
) -> tuple[dict[str, float], ValidationOutputs]:
    """Validate a network as it is; return its scores, and its outputs with the labels."""
    outputs = ValidationOutputs()
    trainer = run.trainer([outputs], logger=False, enable_checkpointing=False)
    return validated(trainer, module, data), outputs


def validated(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule
) -> dict[str, float]:
    """Run one validation pass and return its metrics as numbers."""
    return {key: float(value) for key, value in trainer.validate(module, data, verbose=False)[0].items()}
