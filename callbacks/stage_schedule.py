"""Schedule of training stages, each with its own learning rate and best weights (arXiv 2207.09508, section 3.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from affect.errors import InvalidOptionError, UserError

SCHEDULES: Final = ("constant", "cosine")
KEEPS: Final = ("best", "last")


@dataclass(frozen=True)
class Stage:
    """A number of epochs at one learning rate.

    Attributes:
        name: Name of the stage, for messages.
        epochs: Number of epochs; 0 skips the stage.
        learning_rate: Learning rate of the inner optimiser.
        encoder_frozen: Whether only the classifier trains.
        schedule: `constant`, or `cosine`: from the rate to 0 over the stage.
        with_sam: Whether SAM is used, if the module has a radius for it.
        keep: Epoch whose weights the stage ends with: `best` in validation, or `last`, so that nothing is chosen there.
    """

    name: str
    epochs: int
    learning_rate: float
    encoder_frozen: bool
    schedule: str = "constant"
    with_sam: bool = True
    keep: str = "best"

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise InvalidOptionError(f"a stage must keep one of {KEEPS}, not {self.keep!r}")
        if self.schedule not in SCHEDULES:
            raise InvalidOptionError(f"the schedule must be one of {SCHEDULES}, not {self.schedule!r}")

    def takes(self, score: float, kept: float | None) -> bool:
        """Return whether an epoch with this validation score takes the place of the one kept so far, None at first."""
        return kept is None or self.keep == "last" or score > kept

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share, in [0, 1], of the stage."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2


class StageSchedule(Callback):
    """Train a SamTrainingModule in stages within one fit.

    A stage starts from the weights that the one before keeps, its best or last, with a fresh optimiser, as if fit had
    been called anew; the fit ends with those that the last one keeps. Everything needed is in the checkpoint, so that a
    run resumed in any stage ends like an undisturbed one.

    Args:
        stages: Stages in order.
        monitor: Validation metric that is best when largest.
        seed: Seed of each epoch's random numbers (flips, dropout), which thus do not depend on earlier epochs.

    Attributes:
        best_score: Value of the metric in the epoch kept, the current stage's best or last, None before the first.
        best_epoch: The epoch kept.
    """

    def __init__(self, stages: Sequence[Stage], monitor: str, seed: int) -> None:
        self.stages = [stage for stage in stages if stage.epochs > 0]
        if not self.stages:
            raise InvalidOptionError("at least one stage must have an epoch")
        self.monitor = monitor
        self.seed = seed
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self._best_weights: dict[str, Tensor] = {}
        self._num_validated = 0
        self._starts = [0, *accumulate(stage.epochs for stage in self.stages)]

    @property
    def state_key(self) -> str:
        """Key of the state in checkpoints, which keeps the name that the class had when they were first written."""
        return "StagedTraining"

    @property
    def num_epochs(self) -> int:
        """Epochs of all stages together."""
        return self._starts[-1]

    @property
    def starts(self) -> list[int]:
        """First epoch of each stage."""
        return self._starts[:-1]

    def stage_at(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0; for later epochs the last one."""
        index = sum(start <= epoch for start in self.starts) - 1
        return self.stages[index]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set up the epoch's stage; its first epoch starts from the best weights of the previous stage."""
        epoch = trainer.current_epoch
        stage = self.stage_at(epoch)
        optimizer = trainer.optimizers[0]
        if epoch in self.starts[1:]:
            self.restore_best(pl_module)
            optimizer.state.clear()
        if epoch in self.starts:
            self.best_score = self.best_epoch = None
        pl_module.encoder_frozen = stage.encoder_frozen  # type: ignore[assignment]
        pl_module.with_sam = stage.with_sam  # type: ignore[assignment]
        torch.manual_seed(hash((self.seed, epoch, trainer.global_rank)) % 2**63)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate."""
        epoch = trainer.current_epoch
        stage = self.stage_at(epoch)
        start = self._starts[self.stages.index(stage)]
        rate = stage.rate_at((epoch - start + batch_idx / trainer.num_training_batches) / stage.epochs)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate
        pl_module.log("train/learning_rate", rate, on_step=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Broadcast rank 0's BatchNorm statistics, which differ by rank, so that all validate one network."""
        if trainer.world_size > 1:
            for buffer in pl_module.buffers():
                dist.broadcast(buffer, src=0)

        self._num_validated = 0

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count the validated images."""
        names = batch.get("name") if isinstance(batch, dict) else None
        self._num_validated += 1 if names is None else len(names)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the stage's best, or if it keeps the last."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if self.monitor not in trainer.callback_metrics:
            raise UserError(self._reason_for_no_score(trainer))
        score = float(trainer.callback_metrics[self.monitor])
        if self.stage_at(trainer.current_epoch).takes(score, self.best_score):
            self.best_score, self.best_epoch = score, trainer.current_epoch
            self._best_weights = {key: value.detach().cpu().clone() for key, value in pl_module.state_dict().items()}

    def _reason_for_no_score(self, trainer: pl.Trainer) -> str:
        skipped = getattr(getattr(trainer, "datamodule", None), "skipped", ())
        if self._num_validated or not skipped:
            return f"no validation image has a label for {self.monitor}; look at the validation list's labels"
        return (
            f"not one validation image could be read, so that there is no {self.monitor}; skipped were "
            f"{len(skipped)} images, for example {min(skipped)}. Restore the validation images"
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the last stage's best weights."""
        self.restore_best(pl_module)

    def restore_best(self, pl_module: pl.LightningModule) -> None:
        """Load the stage's best weights so far into the module."""
        if self._best_weights:
            pl_module.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Save the stage's best so far."""
        return {
            "best_score": self.best_score, "best_epoch": self.best_epoch, "best_weights": self._best_weights
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the stage's best so far."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._best_weights = state_dict["best_weights"]
