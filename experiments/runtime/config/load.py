"""Typed configuration: defaults in dataclasses <- recipe YAML <- `key=value` from the command line."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from rich.console import Console
from rich.markup import escape

from affect.storage.atomic_write import write_text
from experiments.runtime.config.help import describe_options
from experiments.runtime.config.options import (
    ConfigError,
    Option,
    check_options,
    iterate_options,
    option_value,
)
from experiments.runtime.config.shared import CORES, LoaderConfig, RunConfig, TrainerConfig, WandbConfig
from experiments.runtime.config.values import to_yaml_value
from experiments.runtime.config.words_and_recipes import read_recipe, read_words
from experiments.runtime.config.yaml_nodes import dump_yaml

__all__ = [
    "CORES", "RECIPES", "ConfigT", "LoaderConfig", "RunConfig", "TrainerConfig", "WandbConfig",
    "load_config", "parse_command_line", "recipe_path", "resumed_folder", "save_config", "stop",
]  # fmt: skip

HELP: Final = ("-h", "--help")
QUIET: Final = "--quiet"
"""Words of the command line that are no key=value; `--quiet` shows warnings only."""

RECIPES = Path(__file__).parents[2] / "recipes"
ConfigT = TypeVar("ConfigT")


def load_config(
    schema: type[ConfigT],
    experiment: str,
    argv: Sequence[str],
    default_recipe: str | None,
    recipes: str | None = None,
) -> ConfigT:
    """Build an experiment's configuration.

    Args:
        schema: Dataclass with the experiment's keys and defaults.
        experiment: Its name, that of the folder of its runs.
        argv: Words `key=value`; `recipe=` names a recipe, or a YAML file. With `resume=`, the run's own `config.yaml`
            takes the recipe's place and a word `recipe=` changes nothing; the other words still win.
        default_recipe: The recipe without such a word; None for a command that has no recipes.
        recipes: Name of the folder of its recipes; by default the experiment's.

    Returns:
        An instance of `schema`, its `recipe` set.

    Raises:
        ConfigError: On an unknown key, a value of a wrong type or out of its range, or a recipe that does not exist.
            Nothing has been written then.
    """
    options = {entry.key: entry for entry in iterate_options(schema)}
    _, values = _collect(options, experiment, argv, default_recipe, recipes)
    if required := sorted(key for key, entry in options.items() if entry.required and key not in values):
        raise ConfigError(f"required, but not given: {', '.join(f'{key}=' for key in required)}")
    config = _build(schema, values)
    check_options(config)
    return config


def _collect(
    options: Mapping[str, Option],
    experiment: str,
    argv: Sequence[str],
    default_recipe: str | None,
    recipes: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Collect the values that a recipe (or the resumed run) sets, and these overridden by the words."""
    if malformed := [word for word in argv if "=" not in word]:
        raise ConfigError(f"expected key=value, got {malformed[0]!r}")
    words = read_words(options, dict(word.split("=", 1) for word in argv))
    recipe = words.pop("recipe", default_recipe)
    resume = words.pop("resume", None)
    layer: dict[str, Any] = {}
    if resume is not None:
        folder = resumed_folder(words.get("output_dir", "runs"), experiment, resume)
        layer = {**read_recipe(options, folder / "config.yaml"), "resume": str(folder)}
    elif recipe is not None:
        path = recipe_path(recipes or experiment, recipe)
        layer = read_recipe(options, path)
        if layer.get("resume") is not None:
            raise ConfigError(f"{path}: resume cannot be set here; give resume= on the command line")
        if "recipe" in layer and path.name != "config.yaml":  # which is a run's, and complete
            raise ConfigError(f"{path}: a recipe cannot name another recipe; remove the key 'recipe'")
        layer["recipe"] = recipe
    return layer, _merged(layer, words)


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values over others; a dict changes only the entries that it names."""
    merged = dict(lower)
    for key, value in upper.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _build(schema: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a configuration from its defaults and from values by dotted key."""
    config = schema()
    defaults = {entry.key: option_value(config, entry.key) for entry in iterate_options(schema)}
    return _rebuilt(config, _merged(defaults, values))


def _rebuilt(group: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Rebuild a group, so that its own checks see all values."""
    changes = {}
    for entry in dataclasses.fields(group):
        key, member = prefix + entry.name, getattr(group, entry.name)
        is_group = dataclasses.is_dataclass(member)
        changes[entry.name] = _rebuilt(member, values, f"{key}.") if is_group else values[key]
    return type(group)(**changes)


def resumed_folder(output_dir: str, experiment: str, resume: str) -> Path:
    """Find the run folder that `resume` names; `latest` is the newest that began to train, if any did.

    Raises:
        ConfigError: If there is none, or it holds no configuration.
    """
    folder = Path(resume)
    if resume == "latest":
        found = Path(output_dir, experiment).glob("[0-9]*/config.yaml")
        runs = sorted((path.parent for path in found), key=start_of)
        if not runs:
            raise ConfigError(f"there is no run of {experiment} below {output_dir} to resume")
        began = [run for run in runs if any(run.rglob("checkpoints"))]
        folder = (began or runs)[-1]
    if not os.path.isfile(folder / "config.yaml"):  # noqa: PTH113 - False for names that are too long
        raise ConfigError(f"{folder} is not a run folder to resume: it has no config.yaml")
    return folder


def start_of(run: Path) -> tuple[str, int]:
    """Return when a run folder was made, for sorting: its time as text, then its number within that second."""
    date, _, rest = run.name.partition("_")
    time, _, number = rest.partition("_")
    return f"{date}_{time}", int(number) if number.isdecimal() else 1


def recipe_path(experiment: str, recipe: str) -> Path:
    """Find a recipe by its name, or as a YAML file.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else RECIPES / experiment / f"{recipe}.yaml"
    if not os.path.exists(path):  # noqa: PTH110 - False for names that are too long
        known = sorted(file.stem for file in (RECIPES / experiment).glob("*.yaml"))
        raise ConfigError(f"no recipe {recipe!r} for {experiment}; there are {', '.join(known)}, or name a .yaml file")
    return path


def parse_command_line(
    schema: type[ConfigT], experiment: str, default_recipe: str | None, recipes: str | None = None
) -> ConfigT:
    """Build the configuration from `sys.argv`; `--help` lists every key, a mistake ends the program with one line."""
    argv = [word for word in sys.argv[1:] if word not in (*HELP, QUIET)]
    if QUIET in sys.argv:
        bars = (entry.key for entry in iterate_options(schema) if entry.key.rpartition(".")[2] == "progress_bar")
        argv += [f"{key}=false" for key in bars]
    try:
        if set(HELP) & set(sys.argv):
            _print_help(schema, experiment, argv, default_recipe, recipes or experiment)
            raise SystemExit(0)
        return load_config(schema, experiment, argv, default_recipe, recipes)
    except ConfigError as error:
        stop(str(error))


def stop(message: str) -> NoReturn:
    """End the program with a message for the user and exit status 2."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(2)


def save_config(config: Any, path: Path) -> None:
    """Write a resolved configuration as YAML, to be given again as `recipe=`, which starts afresh."""
    values = to_yaml_value(dataclasses.asdict(config))
    if "resume" in values:
        values["resume"] = None
    write_text(path, dump_yaml(values))


def _print_help(schema: type, experiment: str, argv: Sequence[str], default_recipe: str | None, folder: str) -> None:
    options = {entry.key: entry for entry in iterate_options(schema)}
    named = any(word.startswith(("recipe=", "resume=")) for word in argv)
    if not named and default_recipe and default_recipe.endswith(".yaml") and not Path(default_recipe).is_file():
        default_recipe = None  # the configuration of a run that does not exist yet
    recipe, values = _collect(options, experiment, argv, default_recipe, folder)
    names = sorted(file.stem for file in (RECIPES / folder).glob("*.yaml"))
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else f"experiments.{experiment}"
    usage = f"python -m {module} {'[recipe=NAME] ' if names else ''}[key=value ...] [--quiet]"
    given = {key: "given" for key in values if key not in recipe or values[key] != recipe[key]}
    marks = dict.fromkeys(recipe, f"recipe {values.get('recipe')}") | given
    if "recipe" in marks:
        marks["recipe"] = "given" if named else "used if none is given"
    config: Any = _build(schema, values)
    print(describe_options(usage, names, options.values(), config, marks))
