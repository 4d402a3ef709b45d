"""Callback that stops a Trainer between two steps on SIGINT and SIGTERM."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from affect.stop_signals import STOP_SIGNALS, Interruption


class GracefulStop(Callback):
    """Stop after the step in which a signal arrives, with an Interruption, in all processes after the same step.

    Lightning's own handlers of SIGINT and SIGTERM, which end the program with status 0 or 1, are replaced; its handler
    of SLURM's requeue signal stays.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Defer signals to the end of a step."""
        if not STOP_SIGNALS.is_listening:
            return
        STOP_SIGNALS.check()
        STOP_SIGNALS.defer()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers again after Lightning has replaced them."""
        if STOP_SIGNALS.is_listening:
            STOP_SIGNALS.install()

    on_validation_start = on_predict_start = on_train_start

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop right after the checkpoint of the epoch before."""
        self._stop_together(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after a step."""
        self._stop_together(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after a batch; not with several processes, which may have different numbers of batches."""
        if trainer.world_size == 1:
            STOP_SIGNALS.check()

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop after a batch has been written; no process waits for another here."""
        STOP_SIGNALS.check()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop if a signal came too late for the last step."""
        STOP_SIGNALS.undefer()
        if STOP_SIGNALS.is_listening:
            STOP_SIGNALS.check()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Handle signals at once again."""
        STOP_SIGNALS.undefer()

    def _stop_together(self, trainer: pl.Trainer) -> None:
        number = STOP_SIGNALS.number or 0
        together = dist.is_available() and dist.is_initialized() and trainer.world_size > 1
        if together and trainer.state.fn == TrainerFn.FITTING:
            highest = torch.tensor([number], device=trainer.strategy.root_device)
            dist.all_reduce(highest, dist.ReduceOp.MAX)
            number = int(highest.item())
        if number:
            raise Interruption(number)
