"""Restores each head's weights of its own best epoch."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor


class BestPerHead(Callback):
    """Keep each submodule's weights when its monitor is best, and restore them when training ends.

    A submodule whose monitor is absent (no labels) keeps its last weights.

    Args:
        monitors: Submodule's dotted name, then the metric's name and `min` or `max`.

    Attributes:
        best_epoch: By submodule, the epoch kept, counted from 1.
        best_value: By submodule, its monitor's value in that epoch.
    """

    def __init__(self, monitors: Mapping[str, tuple[str, str]]) -> None:
        self.monitors = dict(monitors)
        self.best_epoch: dict[str, int] = {}
        self.best_value: dict[str, float] = {}
        self._weights: dict[str, dict[str, Tensor]] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights of submodules whose monitor improved."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        for name, (monitor, mode) in self.monitors.items():
            if monitor not in trainer.callback_metrics:
                continue
            value = float(trainer.callback_metrics[monitor])
            worst = math.inf if mode == "min" else -math.inf
            best = self.best_value.get(name, worst)
            if value < best if mode == "min" else value > best:
                self.best_value[name] = value
                self.best_epoch[name] = trainer.current_epoch + 1
                state = pl_module.get_submodule(name).state_dict()
                self._weights[name] = {key: tensor.detach().clone() for key, tensor in state.items()}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the best weights."""
        for name, weights in self._weights.items():
            pl_module.get_submodule(name).load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return best epochs, values and weights so far."""
        return {"epoch": self.best_epoch, "value": self.best_value, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore best epochs, values and weights."""
        self.best_epoch, self.best_value = state_dict["epoch"], state_dict["value"]
        self._weights = state_dict["weights"]
