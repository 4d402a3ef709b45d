"""Typed configuration: defaults in dataclasses <- recipe YAML <- `key=value` from the command line."""

import dataclasses
import difflib
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from yaml import YAMLError  # type: ignore[import-untyped]

from affect.atomic import write_text
from experiments.options import ConfigError, at_least, option

RECIPES = Path(__file__).parent / "recipes"
CORES = min(8, len(os.sched_getaffinity(0)))  # those of a cluster job, not of its host
ConfigT = TypeVar("ConfigT")


@dataclass
class TrainerConfig:
    """What runs the loops."""

    accelerator: str = option("auto", "auto, cpu, gpu, ...")
    devices: str = option("1", "how many devices, or auto")
    num_nodes: int = option(1, "hosts, under torchrun or SLURM")
    strategy: str = option("auto", "auto, ddp, ...")
    precision: str = option("32-true", "32-true or bf16-mixed")
    max_epochs: int | None = option(
        None, "stop after so many epochs in all; by default the sum of the stages"
    )
    limit_train_batches: float | None = option(None, "share (below 1) or number of batches of an epoch")
    limit_val_batches: float | None = option(None, "the same for validation")
    num_threads: int | None = option(None, "CPU threads of this process; by default PyTorch's choice")
    progress_bar: bool = option(True, "show progress with rate and time left")


@dataclass
class WandbConfig:
    """Where the dashboards go."""

    mode: str = option("auto", "auto (online if logged in), online, offline or disabled")
    project: str = option("mt-emotieffnet", "W&B project")
    entity: str | None = option(None, "W&B user or team; by default your own")
    log_images: bool = option(
        False, "send images of the data set; licensed faces stay here unless you say so"
    )


@dataclass
class LoaderConfig:
    """How images are read; shared by every image data set."""

    batch_size: int = option(48, "samples per process and step")
    num_workers: int = option(CORES, "processes that decode images; 0 decodes in the main one")
    on_corrupt: str = option(
        "raise", "an unreadable image stops the run (raise) or is left out and reported (skip)"
    )

    def __post_init__(self) -> None:
        at_least("data.batch_size", self.batch_size, 1)
        at_least("data.num_workers", self.num_workers, 0)
        at_least("data.image_size", getattr(self, "image_size", 1), 1)


@dataclass
class RunConfig:
    """Keys that every experiment has."""

    recipe: str = option(MISSING, "name of the recipe, or a YAML file")
    seed: int = option(42, "of everything random")
    output_dir: str = option("runs", "run folders are made below")
    resume: str | None = option(None, "a run folder to go on with, or latest (the newest that trained)")
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)


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
        ConfigError: On an unknown key, a value of a wrong type, or a recipe that does not exist.
    """
    if malformed := [word for word in argv if "=" not in word]:
        raise ConfigError(f"expected key=value, got {malformed[0]!r}")
    words = dict(word.split("=", 1) for word in argv)
    recipe = words.pop("recipe", default_recipe)
    folder = None
    if "resume" in words:
        folder = resumed_folder(words.get("output_dir", "runs"), experiment, words.pop("resume"))
    merged = OmegaConf.structured(schema)
    if folder:
        merged = _merge(schema, merged, folder / "config.yaml")
        merged.resume = str(folder)
    elif recipe:
        merged = _merge(schema, merged, recipe_path(recipes or experiment, recipe))
        merged.recipe = recipe
    merged = _merge(schema, merged, [f"{key}={value}" for key, value in words.items()])
    if required := sorted(OmegaConf.missing_keys(merged)):
        raise ConfigError(f"required, but not given: {', '.join(f'{key}=' for key in required)}")
    return typing.cast(ConfigT, OmegaConf.to_object(merged))


def resumed_folder(output_dir: str, experiment: str, resume: str) -> Path:
    """Find the run folder that `resume` names; `latest` is the newest that began to train, if any did.

    Raises:
        ConfigError: If there is none, or it holds no configuration.
    """
    folder = Path(resume)
    if resume == "latest":
        runs = sorted(path.parent for path in Path(output_dir, experiment).glob("[0-9]*/config.yaml"))
        if not runs:
            raise ConfigError(f"there is no run of {experiment} below {output_dir} to resume")
        began = [run for run in runs if any(run.rglob("checkpoints"))]
        folder = (began or runs)[-1]
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} is not a run folder to resume: it has no config.yaml")
    return folder


def recipe_path(experiment: str, recipe: str) -> Path:
    """Find a recipe by its name, or as a YAML file.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else RECIPES / experiment / f"{recipe}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (RECIPES / experiment).glob("*.yaml"))
        raise ConfigError(
            f"no recipe {recipe!r} for {experiment}; there are {', '.join(known)}, or name a .yaml file"
        )
    return path


def parse_command_line(
    schema: type[ConfigT], experiment: str, default_recipe: str | None, recipes: str | None = None
) -> ConfigT:
    """Build the configuration from `sys.argv`; `--help` lists every key, a mistake ends the program with one line."""
    argv = sys.argv[1:]
    if any(word in ("-h", "--help") for word in argv):
        _print_help(schema, experiment, recipes or experiment)
        raise SystemExit(0)
    try:
        return load_config(schema, experiment, argv, default_recipe, recipes)
    except ConfigError as error:
        stop(str(error))


def stop(message: str) -> NoReturn:
    """End the program with a message for the user and exit status 2."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(2)


def save_config(config: Any, path: Path) -> None:
    """Write a resolved configuration as YAML, to be given again as `recipe=`, which starts afresh."""
    resolved = OmegaConf.structured(config)
    if "resume" in resolved:
        resolved.resume = None
    write_text(path, OmegaConf.to_yaml(resolved))


def iterate_keys(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every dotted key of a schema with its field."""
    hints = typing.get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[entry.name]):
            yield from iterate_keys(typing.cast(type, hints[entry.name]), f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, entry


def _merge(schema: type, config: Any, source: Path | list[str]) -> Any:
    """Lay a YAML file, or words `key=value`, over a configuration; errors name which it was."""
    name = str(source) if isinstance(source, Path) else "the command line"
    try:
        layer = OmegaConf.load(source) if isinstance(source, Path) else OmegaConf.from_dotlist(source)
        _check_keys(schema, OmegaConf.to_container(layer), name)
        return OmegaConf.merge(config, layer)
    except YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{name}: {error.full_key or ''}: {str(error).splitlines()[0]}") from error


def _check_keys(schema: type, layer: Any, source: str) -> None:
    known = dict(iterate_keys(schema))

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and value and key not in known:
                yield from walk(value, f"{key}.")
            elif key not in known:
                yield key

    if not isinstance(layer, dict | None):
        raise ConfigError(f"{source} holds no keys and values")
    for key in walk(layer or {}, ""):
        if members := [other for other in known if other.startswith(f"{key}.")]:
            raise ConfigError(f"{source}: {key!r} is a group; set one of its keys: {', '.join(members)}")
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise ConfigError(f"{source}: there is no key {key!r}; the nearest is {close!r}")


def _print_help(schema: type, experiment: str, folder: str) -> None:
    recipes = ", ".join(sorted(file.stem for file in (RECIPES / folder).glob("*.yaml")))
    console = Console()
    usage = f"python -m experiments.{experiment} {'[recipe=NAME] ' if recipes else ''}[key=value ...]"
    console.print(usage, markup=False)
    console.print(f"recipes: {recipes}\n" if recipes else "", highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("key", "default", "meaning"):
        table.add_column(title)
    for key, entry in iterate_keys(schema):
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        table.add_row(key, "required" if default == MISSING else str(default), entry.metadata.get("help", ""))
    console.print(table)
