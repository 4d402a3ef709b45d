"""Lightning's Trainer from our configuration."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ProgressBar, RichProgressBar

from experiments.config import TrainerConfig
from experiments.options import ConfigError, at_least


def build_trainer(config: TrainerConfig, callbacks: Sequence[Callback] = (), **overrides: Any) -> pl.Trainer:
    """Build a Trainer from its configuration; `overrides` are Trainer arguments and come last.

    A progress bar among the callbacks takes the usual one's place; `trainer.progress_bar=false` leaves out either.
    """
    _quieten()
    bars = [callback for callback in callbacks if isinstance(callback, ProgressBar)]
    callbacks = [callback for callback in callbacks if callback not in bars]
    if config.progress_bar:
        callbacks += bars or [RichProgressBar(leave=False)]
    return pl.Trainer(**{
        "accelerator": config.accelerator,
        "devices": config.devices if config.devices == "auto" else int(config.devices),
        "num_nodes": config.num_nodes,
        "strategy": _strategy(config),
        "precision": config.precision,
        "limit_train_batches": _batches(config.limit_train_batches),
        "limit_val_batches": _batches(config.limit_val_batches),
        "callbacks": callbacks,
        "enable_progress_bar": config.progress_bar,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # our samplers shard by themselves, validation without padding
        "log_every_n_steps": 10,
        "inference_mode": False,  # its tensors, such as reset metrics, could not be used in a later fit
        **overrides,
    })  # fmt: skip


def check_limits(config: TrainerConfig) -> None:
    """Refuse to train or validate on nothing, before anything is made.

    Raises:
        ConfigError: If a limit leaves no batch or no epoch, or there is no such number of devices.
    """
    if config.devices != "auto" and not (config.devices.isdecimal() and int(config.devices)):
        raise ConfigError(f"trainer.devices must be auto or a number from 1, not {config.devices!r}")
    if config.max_epochs is not None:
        at_least("trainer.max_epochs", config.max_epochs, 1)
    for key in ("limit_train_batches", "limit_val_batches"):
        if getattr(config, key) == 0:
            raise ConfigError(
                f"trainer.{key}=0 leaves no batch; give a share (below 1) or a number of batches, or null for all"
            )


def _strategy(config: TrainerConfig) -> str:
    """Choose DDP for several processes, in the variety that allows a frozen encoder to have no gradient."""
    devices = torch.cuda.device_count() if config.devices == "auto" else int(config.devices)
    if config.strategy in ("auto", "ddp") and (devices > 1 or config.num_nodes > 1):
        return "ddp_find_unused_parameters_true"
    return config.strategy


def _batches(limit: float | None) -> float | int | None:
    """Read 1 and above as a number of batches, less as a share."""
    return int(limit) if limit is not None and limit >= 1 else limit


def _quieten() -> None:
    """Silence what a user of these experiments can do nothing about."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
