"""An experiment as a command: configuration from the words, messages for its user."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from affect.feature_store import FeatureStoreError
from affect.storage import StorageError
from affect.submissions import SubmissionError
from affect.super_resolution.realesrgan_engine import NetworkError
from affect.upscaled_tree import StaleTreeError
from callbacks.finite_loss import NonFiniteLossError
from datamodules.annotation_errors import AnnotationError
from datamodules.images import UnreadableImageError
from experiments.config import ConfigT, parse_command_line, stop
from experiments.options import ConfigError

USER_ERRORS: Final = (
    AnnotationError, ConfigError, FeatureStoreError, FileExistsError, FileNotFoundError, ModuleNotFoundError,
    NetworkError, NonFiniteLossError, StaleTreeError, StorageError, SubmissionError, UnreadableImageError,
)  # fmt: skip
"""What a user can mend: shown as a message, without a traceback."""

TRACEBACK_VARIABLE: Final = "MT_EMOTIEFFNET_TRACEBACK"
"""Set to anything, it shows the traceback all the same."""

_SOURCE: Final = Path(__file__).parents[1]
_PACKAGES: Final = ("affect", "callbacks", "datamodules", "demo_data", "experiments", "lightning_modules")


def run_experiment(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    default_recipe: str | None = "demo",
    recipes: str | None = None,
) -> None:
    """Run an experiment from the command line; what its user can mend ends it with a message, not a traceback.

    Args:
        schema: Dataclass with its keys.
        experiment: Its name, that of its module and of the folder of its runs.
        function: What it does.
        default_recipe: As in `load_config`.
        recipes: Name of the folder of its recipes; by default the experiment's.
    """
    config = parse_command_line(schema, experiment, default_recipe, recipes)
    try:
        function(config)
    except (*USER_ERRORS, ValueError) as error:
        if os.environ.get(TRACEBACK_VARIABLE) or not (isinstance(error, USER_ERRORS) or was_checked(error)):
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
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    folder = Path(words.get("run", f"runs/{trained_by}/latest"))
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


def was_checked(error: BaseException) -> bool:
    """Tell whether a check of ours raised an error, so that its message says what is wrong; else it is a mistake."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(place.filename)
    ours = path.is_relative_to(_SOURCE) and path.relative_to(_SOURCE).parts[0] in _PACKAGES
    return ours and (place.line or "").startswith("raise")
