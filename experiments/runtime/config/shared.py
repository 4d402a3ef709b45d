"""Options that several experiments share: the trainer, W&B, reading images, and what every run has."""

import os
from dataclasses import dataclass, field

from datamodules.images.dataset import ON_CORRUPT
from experiments.runtime.config.options import REQUIRED, ConfigError, option

CORES = min(8, len(os.sched_getaffinity(0)))  # those of a cluster job, not of its host


@dataclass
class TrainerConfig:
    """Devices, precision and limits of the Trainer."""

    accelerator: str = option(
        "auto", "kind of processor that computes; auto: a GPU if there is one",
        choices=("auto", "cpu", "gpu", "cuda", "mps"),
    )  # fmt: skip
    devices: str = option("1", "number of processors (GPUs, or processes on the CPU) per host, or auto for all")
    num_nodes: int = option(1, "number of hosts, under torchrun or SLURM", ge=1)
    strategy: str = option(
        "auto", "how several processes share the work; auto: ddp if there are several",
        choices=("auto", "ddp", "ddp_fork"),
    )  # fmt: skip
    precision: str = option(
        "32-true", "number format of the computation; float16 with loss scaling is not supported",
        choices=("32-true", "bf16-mixed"),
    )  # fmt: skip
    max_epochs: int | None = option(
        None,
        "stop training after this number of epochs in all, which cuts the later stages; null: all stages",
        ge=1,
    )
    limit_train_batches: float | None = option(
        None, "share (below 1) or number (from 1) of an epoch's training batches; null: all", gt=0
    )
    limit_val_batches: float | None = option(
        None, "share (below 1) or number (from 1) of the validation batches; null: all", gt=0
    )
    num_threads: int | None = option(
        None, "number of CPU threads of this process; null: PyTorch's choice", ge=1, le=1024
    )
    progress_bar: bool = option(True, "show a progress bar with images per second and time left")

    def __post_init__(self) -> None:
        is_number = self.devices.isascii() and self.devices.isdecimal() and len(self.devices) <= 4
        if self.devices != "auto" and not (is_number and 1 <= int(self.devices) <= 1024):
            raise ConfigError(f"trainer.devices must be auto or a number from 1 to 1024, not {self.devices!r}")
        for name in ("limit_train_batches", "limit_val_batches"):
            limit = getattr(self, name)
            if limit is not None and limit > 1 and limit % 1:
                raise ConfigError(f"trainer.{name} must be a share below 1 or a whole number of batches, not {limit}")


@dataclass
class WandbConfig:
    """Recording with Weights & Biases."""

    mode: str = option(
        "auto", "Weights & Biases (W&B) logging; auto: online if logged in, else offline",
        choices=("auto", "online", "offline", "disabled"),
    )  # fmt: skip
    project: str = option("mt-emotieffnet", "name of the W&B project")
    entity: str | None = option(None, "W&B user or team; null: your own")
    log_images: bool = option(False, "send images of the data set to W&B; the demo's drawn images are always sent")

    def __post_init__(self) -> None:
        if not 0 < len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):
            raise ConfigError(f"wandb.project={self.project}: W&B takes 1 to 128 characters without / \\ # ? % and :")


@dataclass
class LoaderConfig:
    """Loading of images, for every image data set."""

    batch_size: int = option(48, "number of images per process and training step; batch normalisation needs two", ge=2)
    num_workers: int = option(
        CORES, "number of processes that decode images; 0: the main process does it", ge=0, le=1024
    )
    on_corrupt: str = option(
        "raise", "what an unreadable image does: raise stops the run, skip leaves the image out and reports it",
        choices=ON_CORRUPT,
    )  # fmt: skip


@dataclass
class RunConfig:
    """Keys that every experiment has."""

    recipe: str = option(REQUIRED, "name of a recipe, or path of a YAML file with values of keys", path=True)
    seed: int = option(42, "seed of the random numbers", ge=0, le=2**32 - 1)
    output_dir: str = option("runs", "folder in which run folders are created", path=True)
    resume: str | None = option(
        None, "run folder to continue, or latest: the newest run that began to train", path=True
    )
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
