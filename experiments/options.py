"""The fields of a configuration, and what is said of a wrong value."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from affect.errors import UserError


class ConfigError(UserError):
    """A key or value that the schema does not know; the message names the nearest valid one."""


def option(default: Any, help: str) -> Any:
    """Declare a config field with the line that `--help` shows for it; lists are copied for each config."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def one_of(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise a ConfigError that names the key unless its value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{key} must be one of {', '.join(choices)}, not {value!r}")


def at_least(key: str, value: float, lowest: float) -> None:
    """Raise a ConfigError that names the key if its value is too low."""
    if value < lowest:
        raise ConfigError(f"{key} must be at least {lowest}, not {value}")
