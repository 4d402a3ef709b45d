"""Lightning's Trainer from our configuration."""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.callbacks import Callback, ProgressBar, RichProgressBar

from callbacks.graceful_stop import GracefulStop
from experiments.runtime.checkpoint_io import AtomicCheckpointIO
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.config.options import ConfigError, check_options


def build_trainer(config: TrainerConfig, callbacks: Sequence[Callback] = (), **overrides: Any) -> pl.Trainer:
    """Build a Trainer from its configuration; `overrides` are Trainer arguments and come last.

    A progress bar among the callbacks takes the usual one's place; `trainer.progress_bar=false` leaves out either.
    A signal stops the Trainer after a step; checkpoints are written atomically.
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
        "callbacks": [*callbacks, GracefulStop()],  # last: it stops when the others have done their part
        "plugins": [AtomicCheckpointIO()],
        "enable_progress_bar": config.progress_bar,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # our samplers shard by themselves, validation without padding
        "log_every_n_steps": 10,
        "inference_mode": False,  # its tensors, such as reset metrics, could not be used in a later fit
        **overrides,
    })  # fmt: skip


def check_limits(config: TrainerConfig) -> None:
    """Refuse what Lightning cannot run here, before anything is made.

    Raises:
        ConfigError: If a value is out of its range, there is no such processor, or not as many as asked for, or SLURM
            has started another number of processes.
    """
    check_options(config, "trainer.")
    kinds = {"gpu": _has_gpu(), "cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
    if not kinds.get(config.accelerator, True):
        raise ConfigError(
            f"trainer.accelerator={config.accelerator}, but PyTorch finds no such device here; use "
            "trainer.accelerator=auto or cpu, or install a driver or a PyTorch that fits the device"
        )
    on_gpu = config.accelerator in kinds or (config.accelerator == "auto" and _has_gpu())
    available = max(torch.cuda.device_count(), 1)
    if on_gpu and config.devices != "auto" and int(config.devices) > available:
        raise ConfigError(f"trainer.devices={config.devices}, but this machine has {available} such device(s)")
    _check_slurm(config, available if on_gpu else 1)


def _has_gpu() -> bool:
    return CUDAAccelerator.is_available() or MPSAccelerator.is_available()


def _check_slurm(config: TrainerConfig, available: int) -> None:
    """Compare the number of processes that `srun` has started with what the configuration asks for."""
    names = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES")
    tasks, per_node, nodes = (int(value) if (value := os.environ.get(name, "")).isdecimal() else None for name in names)
    if tasks is None or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return
    devices = available if config.devices == "auto" else int(config.devices)
    if per_node is None and tasks > 1:
        raise ConfigError(
            f"SLURM started {tasks} processes by --ntasks={tasks}, from which the number per host does not follow: use "
            f"--ntasks-per-node={devices} and trainer.devices={devices}, or --ntasks=1"
        )
    if per_node is None and devices * config.num_nodes > 1:
        raise ConfigError(
            f"SLURM started one process (--ntasks=1), but trainer.devices={config.devices} and "
            f"trainer.num_nodes={config.num_nodes} mean {devices * config.num_nodes}: use --ntasks-per-node={devices} "
            f"and --nodes={config.num_nodes}"
        )
    if per_node is not None and per_node != devices:
        raise ConfigError(
            f"SLURM started {per_node} processes per host (--ntasks-per-node), but trainer.devices={config.devices} "
            f"means {devices}: make the two equal"
        )
    if nodes is not None and nodes != config.num_nodes:
        raise ConfigError(
            f"SLURM reserved {nodes} hosts (--nodes), but trainer.num_nodes={config.num_nodes}: make the two equal"
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
