"""Fit a backbone in stages, and evaluate what the last stage kept."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from affect.networks.backbone import Backbone
from affect.networks.packaged_weights import find_packaged_weights, load_packaged_weights
from affect.networks.weight_import import load_encoder_weights
from affect.storage.fingerprint import file_digest
from affect.storage.packaged_file import PACKAGED_PREFIX
from callbacks.finite_loss import FiniteLoss
from callbacks.history import History
from callbacks.stage_checkpoints import StageCheckpoints
from callbacks.stage_schedule import Stage, StageSchedule
from callbacks.throughput import Throughput
from callbacks.validation_outputs import ValidationOutputs
from datamodules.base import ImageDataModule
from experiments.runtime.checkpoint_io import check_resumable
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.skipped_images import check_images, report_skipped
from experiments.runtime.trainer import build_trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit; `Run.fit_settings` returns those of a run.

    Attributes:
        trainer: Devices, precision and limits.
        seed: Random seed.
        folder: Run folder, for the lists of missing and skipped images; None writes no file.
        logger: W&B logger; None without.
        callbacks: Callbacks of every fit.
        resume: Whether to continue from the last checkpoint.
        name: Name of one of a run's several fits: the subfolder of its checkpoints and history.
    """

    trainer: TrainerConfig
    seed: int
    folder: Path | None = None
    logger: WandbLogger | None = None
    callbacks: Sequence[Callback] = ()
    resume: bool = False
    name: str = ""

    def unrecorded(self) -> "FitSettings":
        """Return settings without folder and logger, for a fit that leaves no trace but its result."""
        return replace(self, folder=None, logger=None)

    def named(self, name: str, logged: bool = True) -> "FitSettings":
        """Return the settings of one of a run's several fits.

        Args:
            name: Name of the fit.
            logged: Whether W&B gets its curves.
        """
        return replace(self, name=name, logger=self.logger if logged else None)


@dataclass(frozen=True)
class FitResult:
    """Results of a fit.

    Attributes:
        metrics: Scores of the weights kept, `train/images_per_second` of the last stage, `data/skipped_images`; what
            could not be measured is absent.
        stage_scores: Validation scores of the epoch that each stage keeps, by the stage's name.
        outputs: The network's outputs and the labels on the validation set, of the weights kept.
        history: One row per epoch.
    """

    metrics: dict[str, float]
    stage_scores: dict[str, dict[str, float]]
    outputs: ValidationOutputs
    history: pd.DataFrame


def fit_in_stages(
    settings: FitSettings,
    module: pl.LightningModule,
    data: ImageDataModule,
    stages: Sequence[Stage],
    monitor: str,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train through the stages, from the last checkpoint if there is one, and validate the weights that the last keeps.

    All listed images are looked for first (see `check_images`).

    Args:
        settings: How and where to train; checkpoints and `history.csv` go to its folder, below its name.
        module: Network to train; it ends with the weights that are kept.
        data: Images; afterwards every process knows those that any has skipped.
        stages: What trains when.
        monitor: Validation metric that chooses the weights, best when largest.
        callbacks: Callbacks of this fit.
    """
    assert settings.folder is not None
    folder = settings.folder / settings.name
    check_images(data, settings.folder)
    staged = StageSchedule(stages, monitor, settings.seed)
    throughput = Throughput(staged.starts)
    outputs, history = ValidationOutputs(), History(folder / "history.csv")
    checkpoints = StageCheckpoints(folder / "checkpoints", staged)
    limit = settings.trainer.max_epochs
    if cut := describe_cut_stages(staged.stages, limit):
        _log.warning(cut)
    last = folder / "checkpoints" / "last.ckpt"
    resumes = settings.resume and last.is_file()
    if resumes:
        check_resumable(last, module, [staged, history])
    trainer = build_trainer(
        settings.trainer,
        [*settings.callbacks, staged, FiniteLoss(), throughput, history, outputs, *callbacks, checkpoints],
        max_epochs=staged.num_epochs if limit is None else min(limit, staged.num_epochs),
        logger=settings.logger or False,
    )
    trainer.fit(module, data, ckpt_path=last if resumes else None, weights_only=True)
    staged.restore_best(module)  # fit does it too, unless a resumed run had nothing left to train
    metrics = validate(trainer, module, data)
    if throughput.images_per_second is not None:
        metrics["train/images_per_second"] = throughput.images_per_second
    scores = scores_by_stage(history.rows, staged, monitor)
    return FitResult(metrics | report_skipped(data, settings.folder), scores, outputs, history.table())


def scores_by_stage(
    rows: Sequence[Mapping[str, float]], staged: StageSchedule, monitor: str
) -> dict[str, dict[str, float]]:
    """Pick the validation scores of the epoch that each stage keeps; of equally good ones the first.

    Args:
        rows: Metrics by epoch, with `epoch`.
        staged: The stages.
        monitor: Metric that is best when largest.

    Returns:
        Scores by the stage's name; a stage without an epoch is absent.
    """
    best: dict[str, Mapping[str, float]] = {}
    for row in rows:
        stage = staged.stage_at(int(row["epoch"]))
        kept = best.get(stage.name)
        if stage.takes(row[monitor], kept[monitor] if kept else None):
            best[stage.name] = row
    return {name: {key: value for key, value in row.items() if key.startswith("val/")} for name, row in best.items()}


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


def evaluate(
    settings: FitSettings, module: pl.LightningModule, data: pl.LightningDataModule
) -> tuple[dict[str, float], ValidationOutputs]:
    """Validate a network without training it; return its scores, and its outputs with the labels."""
    outputs = ValidationOutputs()
    trainer = build_trainer(settings.trainer, [*settings.callbacks, outputs], logger=False, enable_checkpointing=False)
    return validate(trainer, module, data), outputs


def validate(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> dict[str, float]:
    """Run one validation pass and return its metrics as numbers."""
    return {key: float(value) for key, value in trainer.validate(module, data, verbose=False)[0].items()}


def load_initial_weights(backbone: Backbone, weights: str) -> None:
    """Load an encoder's initial weights.

    Args:
        backbone: Network whose encoder is filled.
        weights: A weights file, or `packaged:` with a name; `none` (random) and `hub` (loaded already) change nothing.
    """
    if weights not in ("none", "hub"):
        packaged = weights.startswith(PACKAGED_PREFIX)
        report = (
            load_packaged_weights(backbone, weights) if packaged else load_encoder_weights(backbone.encoder, weights)
        )
        _log.info("encoder from %s: %s", weights, report)


def weights_digest(weights: str) -> str | None:
    """Return the SHA-256 of the file of initial weights, as `load_initial_weights` takes them; None without a file."""
    if weights in ("none", "hub"):
        return None
    return file_digest(find_packaged_weights(weights) if weights.startswith(PACKAGED_PREFIX) else weights)


def log_class_counts(classes: Sequence[str], counts: Sequence[int]) -> None:
    """Log the number of training images of each class."""
    pairs = zip(classes, counts, strict=True)
    _log.info("training faces: %s", ", ".join(f"{name} {count}" for name, count in pairs))
