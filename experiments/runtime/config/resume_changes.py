"""Keys that may change when a run is resumed: those that its result so far does not depend on."""

from pathlib import Path
from typing import Any, Final

from experiments.runtime.config.options import ConfigError, iterate_options, option_value
from experiments.runtime.config.words_and_recipes import read_recipe

_RESOURCES: Final = (
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
)  # fmt: skip
"""Keys of where and how fast a run computes."""

_RESOURCE_NAMES: Final = ("num_workers", "cache_dir", "num_threads", "progress_bar")
"""The same in any group."""

_UNRELATED: Final = ("output_dir", "resume")
"""Keys that a resumed run does not use."""

EPOCHS: Final = "trainer.max_epochs"
"""Keys that may be raised: a run that stopped at such a limit continues beyond it."""


def changes_on_resume(config: Any, folder: Path, was_finished: bool) -> dict[str, list[Any]]:
    """Compare a configuration with that of the run it resumes.

    Args:
        config: The run's configuration with what the command line changes.
        folder: The run's folder.
        was_finished: Whether the run has finished: then nothing may change, unless `trainer.max_epochs` is raised.

    Returns:
        Old and new value of each key that changes.

    Raises:
        ConfigError: If a key changes that must not.
    """
    options = {option.key: option for option in iterate_options(type(config))}
    before = read_recipe(options, folder / "config.yaml")
    changes: dict[str, list[Any]] = {}
    for key, option in options.items():
        old, new = before.get(key, option.default), option_value(config, key)
        if old != new and key not in _UNRELATED:
            changes[key] = [old, new]
    more_epochs = EPOCHS in changes and _raised(*changes[EPOCHS])
    for key, (old, new) in changes.items():
        may_change = key == EPOCHS and more_epochs
        if not was_finished or more_epochs:
            may_change |= key in _RESOURCES or key.rpartition(".")[2] in _RESOURCE_NAMES
            may_change |= key.startswith("wandb.")
        if not may_change:
            state = "has finished" if was_finished else f"was begun with {key}={old}"
            raise ConfigError(
                f"{folder} {state}; {key}={new} cannot be changed by resuming it. Leave the key out, or start a new "
                "run without resume="
            )
    return changes


def _raised(old: int | None, new: int | None) -> bool:
    return old is not None and (new is None or new > old)
