"""An experiment as a command: configuration from the words, messages for its user."""

import contextlib
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import cv2

from affect.errors import UserError
from affect.stop_signals import STOP_SIGNALS, Interruption
from datamodules.loaders import loader_errors
from experiments.runtime.config.load import HELP, QUIET, ConfigT, parse_command_line, stop
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.values import expand_home
from experiments.runtime.process_group import end_children, lost_process, watch_processes
from experiments.runtime.reports.messages import (
    BrokenOutputError,
    replace_unencodable_output,
    show_messages,
    warn,
)
from experiments.runtime.run import Run

TRACEBACK_VARIABLE: Final = "MT_EMOTIEFFNET_TRACEBACK"
"""Environment variable that, set to anything, shows the traceback of a UserError too."""


BROKEN_PIPE_STATUS: Final = 141
"""Exit status of a program that SIGPIPE has ended, as shells give it."""


def run_experiment(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    default_recipe: str | None = "demo",
    recipes: str | None = None,
) -> None:
    """Run an experiment from the command line.

    A UserError ends it with a message and exit status 2, a signal with the command that continues and exit status 130
    or 143. A run folder without a result or checkpoint is removed.

    Args:
        schema: Dataclass with its keys.
        experiment: Its name, that of its module and of the folder of its runs.
        function: Function that runs it.
        default_recipe: As in `load_config`.
        recipes: Name of the folder of its recipes; by default the experiment's.
    """
    replace_unencodable_output()
    show_messages(quiet=QUIET in sys.argv)
    _prepare_libraries()
    with ending_as_a_command(experiment):
        function(parse_command_line(schema, experiment, default_recipe, recipes))


def _prepare_libraries() -> None:
    """Make settings of libraries that hold for a whole process."""
    cv2.setNumThreads(0)  # its threads bring nothing to small images; `build_loader` needs it too
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about metadata, without the name of the file


@contextlib.contextmanager
def ending_as_a_command(experiment: str) -> Iterator[None]:
    """End the program as `run_experiment` describes when the block is stopped or fails."""
    Run.current = None
    with STOP_SIGNALS.listen(), watch_processes(experiment, how_to_continue):
        try:
            with loader_errors():
                yield
            STOP_SIGNALS.check()
        except SystemExit:
            raise
        except BaseException as error:
            _end(error, experiment)


def _end(error: BaseException, experiment: str) -> NoReturn:
    """End the program as an error or a signal asks."""
    is_child = STOP_SIGNALS.is_child
    if STOP_SIGNALS.number is not None:  # also where a library has turned the Interruption into something else
        interruption = Interruption(STOP_SIGNALS.number)
        end_children(patience=10.0)
        if not is_child:
            warn(f"stopped by {interruption.name}. {how_to_continue(experiment)}")
        raise SystemExit(interruption.exit_status)
    if lost := lost_process(error):
        end_children()
        if not is_child:
            warn(f"{lost}. {how_to_continue(experiment)}")
        raise SystemExit(1)
    if isinstance(error, BrokenOutputError):
        warn(f"standard output is closed. {how_to_continue(experiment)}")
        raise SystemExit(BROKEN_PIPE_STATUS)
    if Run.current is not None:
        Run.current.close()
    end_children()
    if not isinstance(error, UserError) or os.environ.get(TRACEBACK_VARIABLE):
        raise error
    stop(message_of(error))


def how_to_continue(experiment: str) -> str:
    """Close the current run and return the command that continues: with `resume=` if there is a checkpoint."""
    run, words = Run.current, sys.argv[1:]
    command = sys.orig_argv[: len(sys.orig_argv) - len(words)]
    if run is not None and run.close() and run.can_be_resumed:
        words = [f"resume={run.folder}"]
    return f"Finished work is kept; continue with\n{shlex.join([*command, *words])}"


def run_on_finished_run(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    trained_by: str,
    settled: Sequence[str] = (),
) -> None:
    """Run an experiment on the finished run `run=`, whose configuration takes the recipe's place.

    Args:
        schema: Dataclass with its keys: those of that run, and `run`.
        experiment: Its name.
        function: Function that runs it.
        trained_by: The experiment that makes such a run; by default its latest is taken.
        settled: Groups of keys that belong to the training and cannot be changed afterwards.
    """
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    try:
        folder = Path(expand_home(words.get("run", f"runs/{trained_by}/latest")))
    except ConfigError as error:
        stop(f"run={words['run']}: {error}")
    recipe = folder / "config.yaml"
    if not recipe.is_file() and not set(HELP) & set(sys.argv):
        stop(f"{folder} is no finished run of {trained_by}; `make {trained_by}` makes one")
    late = [key for key in words if key.partition(".")[0] in settled]
    if late:
        stop(f'{late[0]} is settled by {folder}: train again with `make {trained_by} ARGS="{late[0]}=..."`')
    run_experiment(schema, experiment, function, str(recipe), trained_by)


def message_of(error: BaseException) -> str:
    """Return an error's message, without the traceback that a DataLoader puts before that of its worker."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2] if text.startswith("Caught ") else text
