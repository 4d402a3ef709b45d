"""An experiment as a command: configuration from the words, messages for its user."""

from collections.abc import Callable
from typing import Any, Final

from affect.submissions import SubmissionError
from affect.upscaled_tree import StaleTreeError, StorageError
from callbacks.finite_loss import NonFiniteLossError
from datamodules.annotation_errors import AnnotationError
from datamodules.images import UnreadableImageError
from experiments.config import ConfigError, ConfigT, parse_command_line, stop

USER_ERRORS: Final = (
    AnnotationError, ConfigError, FileNotFoundError, ModuleNotFoundError, NonFiniteLossError, StaleTreeError,
    StorageError, SubmissionError, UnreadableImageError,
)  # fmt: skip
"""What a user can mend: shown as a message, without a traceback."""


def run_experiment(
    schema: type[ConfigT],
    experiment: str,
    function: Callable[[ConfigT], Any],
    default_recipe: str | None = "demo",
) -> None:
    """Run an experiment from the command line; what its user can mend ends it with a message, not a traceback."""
    config = parse_command_line(schema, experiment, default_recipe)
    try:
        function(config)
    except USER_ERRORS as error:
        stop(str(error))
