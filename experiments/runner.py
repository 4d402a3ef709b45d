"""What every experiment's run has in common: seed, run folder, logger, trainer, and how it closes."""

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import pytorch_lightning as pl
import torch
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from affect.atomic import write_json, write_text
from callbacks.wall_clock import WallClock
from experiments.config import RunConfig, resumed_folder, save_config
from experiments.demo import is_demo
from experiments.figures import save_figure
from experiments.options import ConfigError
from experiments.provenance import describe_environment
from experiments.tables import say
from experiments.trainers import build_trainer, check_limits

_FOLDER_VARIABLE: Final = "MT_EMOTIEFFNET_RUN_DIR"


class Run:
    """One run of an experiment and its folder, `<output_dir>/<experiment>/<time>`.

    Only the first process writes there. `latest` beside the folder points to the last run that finished.

    Args:
        experiment: Name of the experiment.
        config: Its configuration, saved as `config.yaml`.
        data_root: Folder of the data set, which tells whether its images are drawn or licensed.

    Attributes:
        folder: The run folder.
        log_images: Whether images of the data set may be sent to W&B: drawn ones always, others if the user says so.

    Raises:
        ConfigError: If the configuration cannot run, or there is nothing to resume; no folder is made then.
    """

    def __init__(self, experiment: str, config: RunConfig, data_root: str | Path) -> None:
        self.experiment = experiment
        self.config = config
        self.log_images = config.wandb.log_images or is_demo(data_root)
        self._clock = WallClock()
        check_limits(config.trainer)
        self._wandb_mode = self._choose_wandb_mode()
        pl.seed_everything(config.seed, workers=True, verbose=False)
        if config.trainer.num_threads:
            torch.set_num_threads(config.trainer.num_threads)
        self.folder = self._make_folder()
        if self.is_first:
            self.folder.joinpath("figures").mkdir(exist_ok=True)
            save_config(config, self.folder / "config.yaml")
        self.say(f"[bold]{experiment}[/] · recipe {config.recipe} · {self.folder}")

    def _make_folder(self) -> Path:
        if self.config.resume:
            return resumed_folder(self.config.output_dir, self.experiment, self.config.resume)
        # Processes that Lightning starts for DDP inherit the first one's choice.
        chosen = os.environ.get(_FOLDER_VARIABLE)
        if chosen and "LOCAL_RANK" in os.environ:
            return Path(chosen)
        folder = Path(self.config.output_dir, self.experiment, f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}")
        if self.is_first:
            folder = _make_unused(folder)
        os.environ[_FOLDER_VARIABLE] = str(folder)
        return folder

    @property
    def is_first(self) -> bool:
        """Whether this is the first of the run's processes, the one that writes and speaks."""
        return getattr(rank_zero_only, "rank", 0) == 0

    def resume_checkpoint(self, name: str = "") -> Path | None:
        """Find the checkpoint to go on from; None for a fresh run or one stopped before its first epoch ended.

        Args:
            name: Of the fit, where a run has several.
        """
        last = self.folder / name / "checkpoints" / "last.ckpt"
        return last if self.config.resume and last.is_file() else None

    def _choose_wandb_mode(self) -> Literal["online", "offline", "disabled"]:
        os.environ.setdefault("WANDB_SILENT", "true")
        mode: Any = self.config.wandb.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        if mode not in ("online", "offline", "disabled"):
            raise ConfigError(f"wandb.mode must be auto, online, offline or disabled, not {mode!r}")
        return mode

    @cached_property
    def logger(self) -> WandbLogger | None:
        """The W&B logger, made when first asked for; None when disabled and in all processes but the first."""
        if self._wandb_mode == "disabled" or not self.is_first:
            return None
        settings = self.config.wandb
        # All runs lie in one W&B folder, so that one command browses them; each run folder links to its own.
        shared = Path(self.config.output_dir) / "wandb"
        shared.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_DATA_DIR", str(shared.resolve()))
        identity = self.folder / "wandb_id"
        # Started here because WandbLogger would start it with a deprecated setting, and W&B warn of it.
        run = wandb.init(
            id=identity.read_text(encoding="utf-8") if identity.is_file() else None, resume="allow",
            name=self.folder.name, dir=self.config.output_dir, project=settings.project, entity=settings.entity,
            group=self.experiment, job_type=self.experiment, mode=self._wandb_mode, config=asdict(self.config),
        )  # fmt: skip
        write_text(identity, run.id)
        _link(self.folder / "wandb", Path(os.path.relpath(Path(run.dir).parent, self.folder)))
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(experiment=run, save_dir=self.config.output_dir)

    def trainer(self, callbacks: Sequence[Callback] = (), **overrides: Any) -> pl.Trainer:
        """Build a Trainer for this run; `overrides` are Trainer arguments."""
        overrides = {"logger": self.logger or False, **overrides}
        return build_trainer(self.config.trainer, [*callbacks, self._clock], **overrides)

    def save_figure(self, name: str, figure: Figure, shows_images: bool = False) -> None:
        """Write a figure to `figures/<name>.png`, and to W&B unless it shows images that must stay here."""
        if not self.is_first:
            return
        path = save_figure(figure, self.folder / "figures" / f"{name}.png")
        if self.logger is not None and (self.log_images or not shows_images):
            self.logger.experiment.log({f"figures/{name}": wandb.Image(str(path))})

    def say(self, message: Any) -> None:
        """Print to the terminal, once."""
        if self.is_first:
            say(message)

    def finish(
        self, metrics: Mapping[str, float], provenance: Mapping[str, Any], *artifact: Path
    ) -> dict[str, float]:
        """Write `metrics.json` and `provenance.json`, close the W&B run, and make this run the latest.

        Args:
            metrics: Flat metric names and numbers; `wall_seconds` is added, with the parts before a resume.
            provenance: What else identifies the run: data fingerprints, digests of inputs.
            *artifact: Files to keep as the run's W&B artifact, which the first one names.

        Returns:
            The metrics as written.
        """
        metrics = {**metrics, "wall_seconds": round(self._clock.seconds, 1)}
        if not self.is_first:
            return metrics
        write_json(self.folder / "metrics.json", metrics)
        environment = describe_environment(self.config.seed, self.config.trainer.accelerator)
        write_json(self.folder / "provenance.json", {**environment, **provenance})
        if self.logger is not None:
            run = self.logger.experiment
            run.summary.update(metrics)
            run.config.update(dict(provenance), allow_val_change=True)
            if artifact:
                name = f"{self.experiment}-{artifact[0].stem}"
                item = wandb.Artifact(name, type="model", metadata=dict(provenance))
                for path in artifact:
                    # Sent from the run folder, whose files stay as they are: no second copy of them on this disk.
                    item.add_file(str(path.resolve()), policy="immutable", skip_cache=True)
                run.log_artifact(item)
            wandb.finish()
        os.environ.pop(_FOLDER_VARIABLE, None)
        _link(self.folder.parent / "latest", Path(self.folder.name))
        return metrics


def _make_unused(folder: Path, number: int = 1) -> Path:
    """Make a folder, under another name if a run of the same second has it."""
    candidate = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
    try:
        candidate.mkdir(parents=True)
    except FileExistsError:
        return _make_unused(folder, number + 1)
    return candidate


def _link(link: Path, target: Path) -> None:
    """Point a symbolic link, new or old, to a target, atomically."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
