"""What every experiment's run has in common: seed, run folder, logger, trainer, and how it closes."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from rich.markup import escape

from affect.storage.atomic_write import write_json
from affect.storage.json_file import read_json
from affect.storage.write_errors import storage_errors
from callbacks.wall_clock import WallClock
from experiments.runtime.config.load import RunConfig, save_config
from experiments.runtime.config.resume_changes import changes_on_resume
from experiments.runtime.demo_set import is_demo
from experiments.runtime.figures import save_figure
from experiments.runtime.provenance import describe_environment
from experiments.runtime.run_folder import FINISHED, FOLDER_VARIABLE, RunFolder, link_latest
from experiments.runtime.tables import say
from experiments.runtime.trainer import build_trainer, check_limits
from experiments.runtime.wandb_run import choose_mode, start_wandb

_RESUMES = "resumes.json"


class Run:
    """One run of an experiment and its folder, `<output_dir>/<experiment>/<time>`.

    Only the first process writes there. `latest` beside the folder points to the newest run that finished and is no
    debug run. A resumed run may change only what its result does not depend on, and writes nothing before it computes.

    Args:
        experiment: Name of the experiment.
        config: Its configuration, saved as `config.yaml`.
        data_root: Folder of the data set, which tells whether its images are drawn or licensed.

    Attributes:
        folder: The run folder.
        log_images: Whether images of the data set may be sent to W&B: drawn ones always, others if the user says so.
        current: The run of this process that has not finished; None if there is none.

    Raises:
        ConfigError: If the configuration cannot run, there is nothing to resume, another process uses the folder, or a
            key is changed that a resumed run must keep; no folder is made then.
        StorageError: If the folder cannot be made.
    """

    current: ClassVar["Run | None"] = None

    def __init__(self, experiment: str, config: RunConfig, data_root: str | Path) -> None:
        self.experiment = experiment
        self.config = config
        self.log_images = config.wandb.log_images or is_demo(data_root)
        self._clock = WallClock()
        check_limits(config.trainer)
        self._wandb_mode, offline_because = choose_mode(config.wandb)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        if config.trainer.num_threads:
            torch.set_num_threads(config.trainer.num_threads)
        self._place = RunFolder(config.output_dir, experiment, config.resume, self.is_first)
        self.folder = self._place.path
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self.say(f"[bold]{experiment}[/] · recipe {config.recipe} · {self.folder}")
        if offline_because:
            self._say_offline(offline_because)

    def _open(self) -> None:
        self._changes: dict[str, list[Any]] = {}
        if not self._place.is_new and self.is_first:
            self._changes = changes_on_resume(self.config, self.folder, self._place.was_finished)
        Run.current = self
        self._config_is_saved = False
        if self._place.is_new:
            self._save_config()
        if self._wandb_mode == "online":
            _ = self.logger  # now, since a server that does not answer should not end a run that has begun

    def _save_config(self) -> None:
        """Write the configuration, and on a resume what it changes."""
        if self._config_is_saved or not self.is_first or not self._computes:
            return
        self._config_is_saved = True
        with storage_errors(self.folder):
            self.folder.joinpath("figures").mkdir(exist_ok=True)
        save_config(self.config, self.folder / "config.yaml")
        if not self._place.is_new:
            # The provenance names the last command only.
            write_json(
                self.folder / _RESUMES, [*self._resumes(), {"words": sys.argv[1:], "changes": self._changes}]
            )

    @property
    def _computes(self) -> bool:
        """Whether there is anything new to record: a finished run that is not prolonged keeps its files."""
        return bool(self._changes) or not self._place.was_finished

    def _resumes(self) -> list[Any]:
        path = self.folder / _RESUMES
        return read_json(path, list[Any], "remove the file") if path.is_file() else []

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the process that writes files and prints."""
        return getattr(rank_zero_only, "rank", 0) == 0

    def resume_checkpoint(self, name: str = "") -> Path | None:
        """Find the checkpoint to go on from; None for a fresh run or one stopped before its first epoch ended.

        Args:
            name: Of the fit, where a run has several.
        """
        last = self.folder / name / "checkpoints" / "last.ckpt"
        return last if self.config.resume and last.is_file() else None

    @cached_property
    def logger(self) -> WandbLogger | None:
        """The W&B logger, made when first asked for; None when disabled and in all processes but the first."""
        if self._wandb_mode == "disabled" or not self.is_first:
            return None
        automatic = self.config.wandb.mode == "auto"
        run = start_wandb(self.config, self.experiment, self.folder, self._wandb_mode, automatic)
        if self._wandb_mode == "online" and run.offline:
            self._say_offline("the server does not answer")
        return WandbLogger(experiment=run, save_dir=self.config.output_dir)

    def _say_offline(self, reason: str) -> None:
        self.say(f"[yellow]W&B is offline: {escape(reason)}; `wandb sync` can send the run later[/]")

    def trainer(self, callbacks: Sequence[Callback] = (), **overrides: Any) -> pl.Trainer:
        """Build a Trainer for this run; `overrides` are Trainer arguments."""
        overrides = {"logger": self.logger or False, **overrides}
        trainer = build_trainer(self.config.trainer, [*callbacks, self._clock], **overrides)
        self._save_config()  # of a resumed run only now, when all that can be checked has been
        return trainer

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
        if self._computes:
            write_json(self.folder / "metrics.json", metrics)
        environment = describe_environment(self.config.seed, self.config.trainer.accelerator)
        if resumes := self._resumes():
            environment["resumes"] = resumes
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
        os.environ.pop(FOLDER_VARIABLE, None)
        if self._computes:
            write_json(self.folder / FINISHED, {**environment, **provenance})
        link_latest(self.folder)
        self.close()
        return metrics

    def close(self) -> bool:
        """Let go of the folder; remove one that holds no result. Tell whether it is still there."""
        if Run.current is self:
            Run.current = None
        removed = self.is_first and self._place.remove_if_useless()
        self._place.release()
        logger = self.__dict__.get("logger")
        if removed and logger is not None:
            run = logger.experiment
            files = Path(run.dir).parent
            wandb.finish(exit_code=1)
            if run.offline:
                shutil.rmtree(files, ignore_errors=True)
        return not removed

    @property
    def can_be_resumed(self) -> bool:
        """Whether the folder holds a checkpoint to go on from."""
        return self._place.has_checkpoint
