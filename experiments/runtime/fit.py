"""Fit a backbone in stages, and evaluate what the last stage kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from callbacks.finite_loss import FiniteLoss
from callbacks.history import History
from callbacks.stage_checkpoints import StageCheckpoints
from callbacks.stage_schedule import Stage, StagedTraining
from callbacks.throughput import Throughput
from callbacks.validation_outputs import ValidationOutputs
from datamodules.base import ImageDataModule
from experiments.runtime.checkpoint_io import check_resumable
from experiments.runtime.run import Run
from experiments.runtime.skipped_images import check_images, report_skipped


@dataclass(frozen=True)
class FitResult:
    """What a fit gives.

    Attributes:
        metrics: Scores of the weights kept, `train/images_per_second` of the last stage, `data/skipped_images`; only
            what there is.
        outputs: The network's outputs and the labels on the validation set, of the weights kept.
        history: One row per epoch.
    """

    metrics: dict[str, float]
    outputs: ValidationOutputs
    history: pd.DataFrame


def fit_in_stages(
    run: Run,
    module: pl.LightningModule,
    data: ImageDataModule,
    stages: Sequence[Stage],
    monitor: str,
    callbacks: Sequence[Callback] = (),
    name: str = "",
    logged: bool = True,
) -> FitResult:
    """Train through the stages (or go on where the run stopped) and validate the best weights of the last one.

    All listed images are looked for first (see `check_images`).

    Args:
        run: The run; checkpoints and history go to its folder.
        module: A StagedTrainingModule; it ends with the weights kept.
        data: Its images; afterwards every process knows those that any has skipped.
        stages: What trains when.
        monitor: Validation metric that chooses the weights, best when largest.
        callbacks: Others to call.
        name: Of this fit, where a run has several: a folder below the run folder, and a mark of its curves in W&B.
        logged: Whether W&B gets the curves.
    """
    folder = run.folder / name
    check_images(run, data)
    staged = StagedTraining(stages, monitor, run.config.seed)
    throughput = Throughput(staged.starts)
    outputs, history = ValidationOutputs(), History(folder / "history.csv")
    checkpoints = StageCheckpoints(folder / "checkpoints", staged)
    limit = run.config.trainer.max_epochs
    if cut := describe_cut_stages(staged.stages, limit):
        run.say(f"[yellow]{cut}[/]")
    last = run.resume_checkpoint(name)
    if last is not None:
        check_resumable(last, module, [staged, history])
    trainer = run.trainer(
        [staged, FiniteLoss(), throughput, history, outputs, *callbacks, checkpoints],
        max_epochs=staged.num_epochs if limit is None else min(limit, staged.num_epochs),
        logger=fit_logger(run, name) if logged else False,
    )
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    staged.restore_best(module)  # fit does it too, unless a resumed run had nothing left to train
    metrics = validated(trainer, module, data)
    if throughput.images_per_second is not None:
        metrics["train/images_per_second"] = throughput.images_per_second
    # Of a run that has several fits, beside their folders: all of them read the same images.
    metrics |= report_skipped(run, data, folder.parent if name else folder)
    return FitResult(metrics, outputs, history.table())


def describe_cut_stages(stages: Sequence[Stage], max_epochs: int | None) -> str:
    """Describe which stages `trainer.max_epochs` cuts short or leaves out; empty if it cuts none."""
    left = sum(stage.epochs for stage in stages) if max_epochs is None else max_epochs
    parts = []
    for stage in stages:
        epochs, left = min(stage.epochs, left), max(0, left - stage.epochs)
        if epochs < stage.epochs:
            parts.append(
                f"stage {stage.name} trains {epochs} of its {stage.epochs} epochs"
                if epochs
                else f"stage {stage.name} ({stage.epochs} epochs) does not train at all"
            )
    if not parts:
        return ""
    return (
        f"trainer.max_epochs={max_epochs} cuts the training: {'; '.join(parts)}. For shorter stages, set their epochs "
        "(--help lists the keys)"
    )


def fit_logger(run: Run, name: str = "") -> WandbLogger | bool:
    """Give the run's W&B logger, or one that marks each metric with the fit's name; False without W&B."""
    if run.logger is None or not name:
        return run.logger or False
    return WandbLogger(experiment=run.logger.experiment, prefix=name, save_dir=run.config.output_dir)


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
