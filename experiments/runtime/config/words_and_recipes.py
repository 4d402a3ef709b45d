"""Sources of option values: words `key=value` of the command line, and recipes."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from experiments.runtime.config.options import ConfigError, Option
from experiments.runtime.config.values import from_node, from_text
from experiments.runtime.config.yaml_nodes import mapping_items, read_yaml

MAKE_VARIABLES: Final = {
    "DATA": ("data.root",), "RECIPE": ("recipe",), "BACKBONE": ("backbone",), "WEIGHTS": ("model.weights", "weights"),
    "SR_WEIGHTS": ("preparation.upscaling.weights",), "SOURCE": ("source",), "HEADS": ("heads",),
}  # fmt: skip
"""Variables of the Makefile, and the keys that they set."""


def read_words(options: Mapping[str, Option], words: Mapping[str, str]) -> dict[str, Any]:
    """Read values by key from the command line; `key.name=` sets one entry of an option that is a dict.

    Raises:
        ConfigError: On an unknown key, or a text that is no value of its type.
    """
    values: dict[str, Any] = {}
    for key, text in words.items():
        if key not in options and (parent := _dict_option(options, key)):
            name = key.removeprefix(f"{parent.key}.")
            element = parent._replace(key=key, type=typing.get_args(parent.type)[1])
            value = {**values.get(parent.key, {}), name: from_text(element, text)}
            key = parent.key
        elif key in options:
            value = from_text(options[key], text)
        else:
            raise _unknown_key(options, key, "the command line")
        values[key] = value
    return values


def _dict_option(options: Mapping[str, Option], key: str) -> Option | None:
    """Find the option of dict type that a longer key belongs to."""
    parents = (entry for entry in options.values() if key.startswith(f"{entry.key}."))
    return next((entry for entry in parents if typing.get_origin(entry.type) is dict), None)


def read_recipe(options: Mapping[str, Option], path: Path) -> dict[str, Any]:
    """Read values from a YAML file.

    Raises:
        ConfigError: If the file cannot be read, or on an unknown or repeated key, or a value of a wrong type; the
            message names file and line.
    """
    root = read_yaml(path)
    values: dict[str, Any] = {}

    def walk(node: Any, prefix: str) -> None:
        for name, value in mapping_items(node, f"{path}: "):
            key, where = f"{prefix}{name.value}", f"{path}:{name.start_mark.line + 1}"
            if key in values:
                raise ConfigError(f"{where}: the key {key!r} is there twice")
            if key in options:
                values[key] = from_node(options[key], value, str(path))
            elif isinstance(value, yaml.MappingNode) and value.value:
                walk(value, f"{key}.")
            else:
                raise _unknown_key(options, key, where)

    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no keys and values")
    if root is not None:
        walk(root, "")
    return values


def read_saved_text(path: Path, key: str) -> str | None:
    """Read one text option from the top level of a run's `config.yaml`; None without the file or the key.

    Raises:
        ConfigError: If the file cannot be read.
    """
    root = read_yaml(path) if path.is_file() else None
    for name, node in mapping_items(root, f"{path}: ") if isinstance(root, yaml.MappingNode) else ():
        if name.value == key:
            return from_node(Option(key, str | None, dataclasses.field()), node, str(path))
    return None


def _unknown_key(options: Mapping[str, Option], key: str, source: str) -> ConfigError:
    if members := [other for other in options if other.startswith(f"{key}.")]:
        return ConfigError(f"{source}: {key!r} is a group; set one of its keys: {', '.join(members)}")
    known = [other for other in MAKE_VARIABLES.get(key, ()) if other in options]
    if known:
        return ConfigError(f"{source}: {key}= is a variable of `make`; the key is {known[0]!r}")
    close = difflib.get_close_matches(key, options, n=1)
    hint = f"the nearest is {close[0]!r}" if close else "--help lists the keys"
    return ConfigError(f"{source}: there is no key {key!r}; {hint}")
