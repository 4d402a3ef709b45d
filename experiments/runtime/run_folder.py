"""The folder of a run: made, locked, removed again if nothing came of it, and linked as the latest."""

import contextlib
import datetime
import os
import shutil
import time
from pathlib import Path
from typing import Final, Protocol

from affect.storage.atomic_write import is_temporary
from affect.storage.locks import LockedError, ProcessLock
from affect.storage.write_errors import StorageError, storage_errors
from experiments.runtime.config.load import resumed_folder, start_of
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.words_and_recipes import read_saved_text
from experiments.runtime.reports.messages import LOG_FILE

FOLDER_VARIABLE: Final = "MT_EMOTIEFFNET_RUN_DIR"
"""Environment variable that passes the run folder to the run's other processes."""

FINISHED: Final = "provenance.json"
"""File that a run writes last."""

_OF_NO_USE_ALONE: Final = ("config.yaml", "history.csv", "wandb_id", ".lock", LOG_FILE)

_CLEARING_SECONDS: Final = 0.3
"""Seconds that another run may hold a folder's lock to remove temporary files there."""


class StoppableRun(Protocol):
    """What the command line needs of a run that has not finished, to end it and to say how it goes on.

    Attributes:
        folder: The run folder.
    """

    folder: Path

    @property
    def can_be_resumed(self) -> bool:
        """Whether `resume=` continues it."""
        ...

    def close(self) -> bool:
        """Release the folder, and remove it if it holds no result; return whether it still exists."""
        ...


class RunFolder:
    """`<output_dir>/<experiment>/<time>`, which one run at a time uses.

    Args:
        output_dir: Folder of all experiments' runs.
        experiment: Name of the experiment.
        resume: A run folder to continue, or `latest`; None makes a new one.
        is_first: Whether this is the first of the run's processes: it makes and locks the folder.

    Attributes:
        path: The folder.
        is_new: Whether it was made here.
        was_finished: Whether a run has finished in it before.

    Raises:
        ConfigError: If there is nothing to resume, or another process uses the folder.
        StorageError: If the folder cannot be made.
    """

    def __init__(self, output_dir: str, experiment: str, resume: str | None, is_first: bool) -> None:
        self._lock: ProcessLock | None = None
        self.is_new = not resume
        if resume:
            self.path = resumed_folder(output_dir, experiment, resume)
        else:
            self.path = self._new(Path(output_dir, experiment), is_first)
        self.was_finished = not self.is_new and (self.path / FINISHED).is_file()
        if is_first:
            self._take()
            _clear_killed_runs(self.path)

    @staticmethod
    def _new(parent: Path, is_first: bool) -> Path:
        # Processes that Lightning starts for DDP inherit the first one's choice.
        chosen = os.environ.get(FOLDER_VARIABLE)
        if chosen and "LOCAL_RANK" in os.environ:
            return Path(chosen)
        folder = parent / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
        if is_first:
            with storage_errors(folder):
                folder = _make_unused(folder)
        os.environ[FOLDER_VARIABLE] = str(folder)
        return folder

    def _take(self) -> None:
        """Lock the folder and remove what killed processes were writing there."""
        try:
            self._lock = _lock(self.path)
        except LockedError:
            time.sleep(_CLEARING_SECONDS)  # perhaps another run only clears up here
            try:
                self._lock = _lock(self.path)
            except LockedError as holder:
                raise ConfigError(
                    f"{self.path} is used by {holder}: wait until that has ended, or resume another run"
                ) from None
        _remove_temporary_files(self.path)

    def release(self) -> None:
        """Release the lock of the folder."""
        if self._lock is not None:
            self._lock.release()

    @property
    def has_checkpoint(self) -> bool:
        """Whether a run can be resumed from the folder."""
        return any(self.path.rglob("checkpoints/last.ckpt"))

    def remove_if_useless(self) -> bool:
        """Remove the folder if it was made here and holds no result; return whether it was removed."""
        files = (path for path in self.path.rglob("*") if not path.is_symlink() and path.is_file())
        if not self.is_new or any(path.name not in _OF_NO_USE_ALONE for path in files):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        return True


def _lock(folder: Path) -> ProcessLock:
    return ProcessLock(folder / ".lock")


def _remove_temporary_files(folder: Path) -> None:
    with storage_errors(folder):
        for path in filter(is_temporary, folder.rglob(".*")):
            path.unlink(missing_ok=True)


def _clear_killed_runs(own: Path) -> None:
    """Remove what killed runs of the same experiment were writing; only these have left their lock file."""
    for lock_file in own.parent.glob("[0-9]*/.lock"):
        if lock_file.parent.samefile(own):
            continue
        with contextlib.suppress(LockedError, StorageError):  # in use, or somebody else's
            lock = _lock(lock_file.parent)
            try:
                if lock.is_exclusive:
                    _remove_temporary_files(lock_file.parent)
            finally:
                lock.release()


def link_latest(own: Path) -> None:
    """Point `latest` to the newest finished run of an experiment, by the time it started; debug runs do not count.

    Args:
        own: A run folder of the experiment, which this process has locked.
    """
    parent = own.parent
    for folder in sorted(parent.glob("[0-9]*"), key=start_of, reverse=True):
        if (folder / FINISHED).is_file() and not _is_debug(folder):
            link(parent / "latest", Path(folder.name), own)
            return


def _is_debug(folder: Path) -> bool:
    return Path(read_saved_text(folder / "config.yaml", "recipe") or "").stem == "debug"


def _make_unused(folder: Path, number: int = 1) -> Path:
    """Make a folder, under another name if a run of the same second has it."""
    candidate = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
    try:
        candidate.mkdir(parents=True)
    except FileExistsError:
        return _make_unused(folder, number + 1)
    return candidate


def link(path: Path, target: Path, own: Path) -> None:
    """Point a symbolic link, new or old, to a target, atomically.

    Args:
        path: The link.
        target: What it points to.
        own: A run folder on the same disk, in which it is made first: the next run removes what a kill leaves there.

    Raises:
        StorageError: If it cannot be written.
    """
    temporary = own / f".{path.name}.{os.getpid()}.part"
    with storage_errors(path):
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
