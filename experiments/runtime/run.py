"""The run of an experiment: its folder, its configuration, its W&B run, and the results that it ends with."""

import logging
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytorch_lightning as pl
import torch
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from affect.storage.atomic_write import write_json
from affect.storage.json_file import read_json
from affect.storage.write_errors import storage_errors
from callbacks.wall_clock import WallClock
from experiments.runtime.config.load import RunConfig, save_config
from experiments.runtime.config.resume_changes import changes_on_resume
from experiments.runtime.demo_set import is_demo
from experiments.runtime.fit import FitSettings
from experiments.runtime.provenance import describe_environment
from experiments.runtime.reports.figures import save_figure
from experiments.runtime.reports.messages import RunLog, is_rank_zero
from experiments.runtime.reports.wandb_run import choose_mode, start_wandb
from experiments.runtime.run_folder import FINISHED, FOLDER_VARIABLE, RunFolder, StoppableRun, link_latest
from experiments.runtime.trainer import check_limits

_RESUMES = "resumes.json"
_log = logging.getLogger(__name__)


class _SaveConfig(Callback):
    """Save the configuration of a resumed run as its training starts, when all that can be checked has been."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._run.save_config()


class Run:
    """One run of an experiment and its folder, `<output_dir>/<experiment>/<time>`.

    Only rank 0 writes there; its messages are also kept in `run.log`. `latest` beside the folder points to the newest
    run that finished and is no debug run. A resumed run may change only keys that its result does not depend on, and
    writes nothing before it trains.

    Args:
        experiment: Name of the experiment.
        config: Its configuration, saved as `config.yaml`.
        data_root: Folder of the data set; images of a set that is not drawn stay on the machine.

    Attributes:
        folder: The run folder.
        log_images: Whether images of the data set may be sent to W&B: drawn ones always, others if the user says so.
        current: The run of this process that has not finished; None if there is none.

    Raises:
        ConfigError: If the configuration cannot run, there is nothing to resume, another process uses the folder, or a
            key is changed that a resumed run must keep; no folder is made then.
        StorageError: If the folder cannot be made.
    """

    current: ClassVar[StoppableRun | None] = None

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
        self._place = RunFolder(config.output_dir, experiment, config.resume, is_rank_zero())
        self.folder = self._place.path
        self._run_log = RunLog(self.folder) if is_rank_zero() else None
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        _log.info("%s · recipe %s · %s", experiment, config.recipe, self.folder)
        if offline_because:
            _warn_offline(offline_because)

    def _open(self) -> None:
        self._changes: dict[str, list[Any]] = {}
        if not self._place.is_new and is_rank_zero():
            self._changes = changes_on_resume(self.config, self.folder, self._place.was_finished)
        Run.current = self
        self._config_is_saved = False
        if self._place.is_new:
            self.save_config()
        if self._wandb_mode == "online":
            _ = self.logger  # now, since a server that does not answer should not end a run that has begun

    def save_config(self) -> None:
        """Write the configuration, and on a resume what it changes; once."""
        if self._config_is_saved or not is_rank_zero() or not self._computes:
            return
        self._config_is_saved = True
        with storage_errors(self.folder):
            self.folder.joinpath("figures").mkdir(exist_ok=True)
        save_config(self.config, self.folder / "config.yaml")
        if not self._place.is_new:
            # The provenance names the last command only.
            write_json(self.folder / _RESUMES, [*self._resumes(), {"words": sys.argv[1:], "changes": self._changes}])

    @property
    def _computes(self) -> bool:
        """Whether there is anything new to record: a finished run that is not prolonged keeps its files."""
        return bool(self._changes) or not self._place.was_finished

    def _resumes(self) -> list[Any]:
        path = self.folder / _RESUMES
        return read_json(path, list[Any], "remove the file") if path.is_file() else []

    @cached_property
    def logger(self) -> WandbLogger | None:
        """The W&B logger, made when first asked for; None when disabled and in all processes but rank 0."""
        if self._wandb_mode == "disabled" or not is_rank_zero():
            return None
        automatic = self.config.wandb.mode == "auto"
        run = start_wandb(self.config, self.experiment, self.folder, self._wandb_mode, automatic)
        if self._wandb_mode == "online" and run.offline:
            _warn_offline("the server does not answer")
        return WandbLogger(experiment=run, save_dir=self.config.output_dir)

    @property
    def fit_settings(self) -> FitSettings:
        """Settings of the run's fits."""
        return FitSettings(
            self.config.trainer, self.config.seed, self.folder, self.logger, [self._clock, _SaveConfig(self)],
            bool(self.config.resume),
        )  # fmt: skip

    def save_figures(self, figures: Mapping[str, Figure], showing_images: Collection[str] = ()) -> None:
        """Write figures to `figures/<name>.png`, and to W&B: those that show images of the set only if `log_images`."""
        if not is_rank_zero():
            return
        for name, figure in figures.items():
            path = save_figure(figure, self.folder / "figures" / f"{name}.png")
            if self.logger is not None and (self.log_images or name not in showing_images):
                self.logger.experiment.log({f"figures/{name}": wandb.Image(str(path))})

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """Send a table to W&B."""
        if self.logger is not None:
            self.logger.experiment.log({name: wandb.Table(dataframe=table)})

    def finish(self, metrics: Mapping[str, float], provenance: Mapping[str, Any], *artifact: Path) -> dict[str, float]:
        """Write `metrics.json` and `provenance.json`, close the W&B run, and make this run the latest.

        Args:
            metrics: Flat metric names and numbers; `wall_seconds` is added, with the parts before a resume.
            provenance: Fingerprints of the data, digests of other inputs.
            *artifact: Files of the run's W&B artifact, which is named after the first.

        Returns:
            The metrics as written.
        """
        metrics = {**metrics, "wall_seconds": round(self._clock.seconds, 1)}
        if not is_rank_zero():
            return metrics
        self.save_config()
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
        self._release()  # the log stays open, for the closing table
        return metrics

    def close(self) -> bool:
        """Release the folder, and remove it if it holds no result; return whether it still exists."""
        if self._run_log is not None:
            self._run_log.close()
        removed = is_rank_zero() and self._place.remove_if_useless()
        self._release()
        logger = self.__dict__.get("logger")
        if removed and logger is not None:
            run = logger.experiment
            files = Path(run.dir).parent
            wandb.finish(exit_code=1)
            if run.offline:
                shutil.rmtree(files, ignore_errors=True)
        return not removed

    def _release(self) -> None:
        if Run.current is self:
            Run.current = None
        self._place.release()

    @property
    def can_be_resumed(self) -> bool:
        """Whether the folder holds a checkpoint to resume from."""
        return self._place.has_checkpoint


def _warn_offline(reason: str) -> None:
    _log.warning("W&B is offline: %s; `wandb sync` can send the run later", reason)
