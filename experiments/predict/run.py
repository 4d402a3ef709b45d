"""The run folder of a prediction: made or continued, locked, recorded, and finished."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from affect.storage.atomic_write import write_json, write_text
from experiments.predict.config import PredictConfig
from experiments.runtime.config.load import save_config
from experiments.runtime.config.resume_changes import changes_on_resume
from experiments.runtime.provenance import describe_environment
from experiments.runtime.reports.messages import RunLog
from experiments.runtime.run import Run
from experiments.runtime.run_folder import FINISHED, RunFolder, link_latest

PARTS: Final = "parts"
UNREADABLE: Final = "unreadable.txt"
"""Messages about what could not be read of a source; absent if all was read."""
_log = logging.getLogger(__name__)


class PredictionRun:
    """`<output_dir>/predict/<time>`, with `config.yaml` and `run.log`.

    Args:
        config: The configuration; with `resume` that of the run that goes on.

    Attributes:
        folder: The folder.
        was_finished: Whether there is nothing left to do in it.

    Raises:
        ConfigError: If there is nothing to resume, another process uses the folder, or a key is changed that the rows
            depend on.
        StorageError: If the folder cannot be made.
    """

    def __init__(self, config: PredictConfig) -> None:
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self._place = RunFolder(config.output_dir, "predict", config.resume, is_first=True)
        self.folder, self.was_finished = self._place.path, self._place.was_finished
        self._log = RunLog(self.folder)
        try:
            if self._place.is_new:
                save_config(config, self.folder / "config.yaml")
            else:
                changes_on_resume(config, self.folder, self.was_finished)
        except BaseException:
            self.close()
            raise
        Run.current = self
        _log.info("predict · %s · %s", config.source, self.folder)

    @property
    def can_be_resumed(self) -> bool:
        """Whether any row is kept."""
        return any(self.folder.glob(f"{PARTS}/*.parquet"))

    def finish(self, inputs: Mapping[str, Any], summary: Mapping[str, int], damage: Sequence[str]) -> None:
        """Record how the results were made, remove intermediate files, and make this run the latest."""
        if damage:
            write_text(self.folder / UNREADABLE, "\n".join(damage) + "\n")
        environment = describe_environment(seed=0, accelerator="auto")
        del environment["seed"]  # nothing is random
        write_json(self.folder / "metrics.json", dict(summary))
        write_json(self.folder / FINISHED, {**environment, **inputs})
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        link_latest(self.folder)
        Run.current = None
        self._place.release()

    def close(self) -> bool:
        """Release the folder, and remove it if it holds no row; return whether it still exists."""
        self._log.close()
        removed = self._place.remove_if_useless()
        Run.current = None
        self._place.release()
        return not removed
