"""An experiment as a command: configuration from the words, messages for its user."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from datamodules.loading import loader_errors
from experiments.config import ConfigT, parse_command_line, stop
from experiments.option_values import expand_home
from experiments.options import ConfigError
from experiments.tables import replace_unencodable_output

TRACEBACK_VARIABLE: Final = "MT_EMOTIEFFNET_TRACEBACK"
"""Environment variable that, set to anything, shows the traceback of a UserError too."""


def run_experiment(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    default_recipe: str | None = "demo",
    recipes: str | None = None,
) -> None:
    """Run an experiment from the command line; a UserError ends it with a message and exit status 2.

    Args:
        schema: Dataclass with its keys.
        experiment: Its name, that of its module and of the folder of its runs.
        function: What it does.
        default_recipe: As in `load_config`.
        recipes: Name of the folder of its recipes; by default the experiment's.
    """
    replace_unencodable_output()
    config = parse_command_line(schema, experiment, default_recipe, recipes)
    try:
        with loader_errors():
            function(config)
    except UserError as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        stop(message_of(error))


def run_on_finished_run(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    trained_by: str,
    settled: Sequence[str] = (),
) -> None:
    """Run an experiment that goes on from the run folder `run=`, whose configuration takes the recipe's place.

    Args:
        schema: Dataclass with its keys: those of that run, and `run`.
        experiment: Its name.
        function: What it does.
        trained_by: The experiment that makes such a run; by default its latest is taken.
        settled: Groups of keys that say how the run was trained, and cannot be changed after it.
    """
    replace_unencodable_output()
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    try:
        folder = Path(expand_home(words.get("run", f"runs/{trained_by}/latest")))
    except ConfigError as error:
        stop(f"run={words['run']}: {error}")
    recipe = folder / "config.yaml"
    if not recipe.is_file() and not {"-h", "--help"} & set(sys.argv):
        stop(f"{folder} is no finished run of {trained_by}; `make {trained_by}` makes one")
    late = [key for key in words if key.partition(".")[0] in settled]
    if late:
        stop(f'{late[0]} is settled by {folder}: train anew with `make {trained_by} ARGS="{late[0]}=..."`')
    run_experiment(schema, experiment, function, str(recipe), trained_by)


def message_of(error: BaseException) -> str:
    """Give an error's message, without the traceback that a DataLoader puts before that of its worker."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2] if text.startswith("Caught ") else text
