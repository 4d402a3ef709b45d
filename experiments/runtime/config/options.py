"""Options of a configuration: their declaration, their limits, and the check of a whole configuration."""

import dataclasses
import math
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from affect.errors import UserError

REQUIRED: Final[Any] = "???"
"""Default of an option that has to be given."""


class ConfigError(UserError):
    """An unknown key, or a value that its option does not allow; the message names the key."""


@dataclass(frozen=True)
class Limits:
    """Allowed values of an option; for a list or dict, of each element.

    Attributes:
        ge: Smallest value.
        gt: What a value must exceed.
        le: Largest value.
        lt: What a value must stay below.
        choices: All values, for text.
        length: Number of elements of a list.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None

    def allows(self, value: Any) -> bool:
        """Return whether a single value lies within the limits; NaN and infinity never do."""
        if isinstance(value, str):
            return not self.choices or value in self.choices
        return math.isfinite(value) and not (
            (self.ge is not None and value < self.ge)
            or (self.gt is not None and value <= self.gt)
            or (self.le is not None and value > self.le)
            or (self.lt is not None and value >= self.lt)
        )

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.ge is not None and self.le is not None:
            return f"between {self.ge} and {self.le}"
        words = {"at least": self.ge, "above": self.gt, "at most": self.le, "below": self.lt}
        return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)


class Option(NamedTuple):
    """An option of a schema: its dotted key, its type, and the dataclass field that declares it."""

    key: str
    type: Any
    field: dataclasses.Field

    @property
    def limits(self) -> Limits:
        """Allowed values."""
        return self.field.metadata.get("limits", Limits())

    @property
    def is_path(self) -> bool:
        """Whether it names a file or folder, so that a leading `~` is the home folder."""
        return self.field.metadata.get("path", False)

    @property
    def default(self) -> Any:
        """Its default as the dataclass declares it."""
        factory = self.field.default_factory
        return self.field.default if factory is dataclasses.MISSING else factory()

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.field.default == REQUIRED


def option(default: Any, help: str, *, path: bool = False, **limits: Any) -> Any:
    """Declare an option of a configuration dataclass.

    Args:
        default: Its default; lists and dicts are copied for each configuration. `REQUIRED`: it has to be given.
        help: What it is, with its unit, for `--help`.
        path: Whether it names a file or folder (or may do so).
        **limits: Fields of `Limits`, which `check_options` and `--help` use.
    """
    metadata = {"help": help, "path": path, "limits": Limits(**limits)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def iterate_options(schema: type, prefix: str = "") -> Iterator[Option]:
    """Yield every option of a schema, those of its groups included."""
    hints = typing.get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        hint = hints[entry.name]
        if dataclasses.is_dataclass(hint):
            yield from iterate_options(typing.cast(type, hint), f"{prefix}{entry.name}.")
        else:
            yield Option(prefix + entry.name, hint, entry)


def option_value(config: Any, key: str) -> Any:
    """Look up a dotted key."""
    for name in key.split("."):
        config = getattr(config, name)
    return config


def check_options(config: Any, prefix: str = "") -> None:
    """Check every option of a configuration, or of a group of it, against its limits.

    `prefix` is that of the keys in messages, for instance `trainer.`.

    Raises:
        ConfigError: If a value is out of its limits; the message names key, value and limits.
    """
    for entry in iterate_options(type(config)):
        key, limits, value = prefix + entry.key, entry.limits, option_value(config, entry.key)
        if value is not None and limits.length is not None and len(value) != limits.length:
            raise ConfigError(f"{key} must hold {limits.length} values, not {len(value)}: {value}")
        for name, element in _elements(key, value):
            if not limits.allows(element):
                allowed = str(limits) or "a finite number"
                raise ConfigError(f"{name} must be {allowed}, not {_shown(element)}")


def _elements(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{key}.{name}", element) for name, element in value.items()]
    elements = value if isinstance(value, list) else [] if value is None else [value]
    return [(key, element) for element in elements]


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:.15g}" if isinstance(value, float) else str(value)


def one_of(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise a ConfigError that names the key unless its value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{key} must be one of {', '.join(choices)}, not {value!r}")
