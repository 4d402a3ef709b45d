r"""Values of options: from the text of the command line or the nodes of a YAML file, and back to text.

Text is taken literally. Numbers, truth values, lists and mappings have the syntax of YAML. In a YAML file, `${` is
refused, since it looks like OmegaConf's or the shell's interpolation, which is not supported; `\${` stands for the
characters themselves.
"""

import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from experiments.runtime.config.options import ConfigError, Option
from experiments.runtime.config.yaml_nodes import compose, mapping_items

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTH: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_DOLLAR_BRACE: Final = re.compile(r"(\\*)\$\{")


def from_text(option: Option, text: str) -> Any:
    """Return the value of an option from the command line; `null` is None where the option allows it.

    Raises:
        ConfigError: If the text is no value of the option's type.
    """
    kind, optional = _unwrapped(option.type)
    if optional and text == "null":
        return None
    if kind is str:
        return _as_path(option, text)
    try:
        node = compose(text, "")
    except ConfigError:
        node = None
    if optional and node is not None and _is_null(node):
        return None
    return _Converter(option.key, text=text).convert(kind, node)


def from_node(option: Option, node: yaml.Node, source: str) -> Any:
    """Return the value of an option from a node of a YAML file.

    Raises:
        ConfigError: If the node is no value of the option's type, or holds an interpolation.
    """
    where = f"{source}:{node.start_mark.line + 1}: "
    kind, optional = _unwrapped(option.type)
    if _is_null(node):
        if optional:
            return None
        raise ConfigError(f"{where}{option.key} must be {_described(kind)}, not null")
    value = _Converter(option.key, where).convert(kind, node)
    return _as_path(option, value, where) if kind is str else value


def to_yaml_value(value: Any) -> Any:
    r"""Prepare a value for a YAML file that is read by `from_node`: `${` in text becomes `\${`."""
    if isinstance(value, str):
        return _DOLLAR_BRACE.sub(lambda match: match[1] * 2 + r"\${", value)
    if isinstance(value, dict):
        return {to_yaml_value(name): to_yaml_value(element) for name, element in value.items()}
    return [to_yaml_value(element) for element in value] if isinstance(value, list) else value


def to_text(value: Any) -> str:
    """Format a value as on the command line."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(to_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {to_text(element)}" for name, element in value.items()) + "}"
    return str(value)


class _Converter:
    """Turns nodes into values of one option.

    Args:
        key: The option's.
        where: Beginning of messages.
        text: The text of the command line that the nodes come from, without escapes; None for a file.
    """

    def __init__(self, key: str, where: str = "", text: str | None = None) -> None:
        self.key = key
        self.where = where
        self.source = text

    def convert(self, kind: Any, node: yaml.Node | None) -> Any:
        """Return the value of a type.

        Raises:
            ConfigError: If the node holds none.
        """
        origin = typing.get_origin(kind)
        if origin is list and isinstance(node, yaml.SequenceNode):
            (element,) = typing.get_args(kind)
            return [self.convert(element, each) for each in node.value]
        if origin is dict and isinstance(node, yaml.MappingNode):
            element = typing.get_args(kind)[1]
            items = mapping_items(node, self.where)
            return {self.text(name): self.convert(element, each) for name, each in items}
        if origin is None and isinstance(node, yaml.ScalarNode) and not (kind is not str and _is_null(node)):
            value = self.scalar(kind, node)
            if value is not None:
                return value
        names = {yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
        shown = names.get(type(node)) or repr(getattr(node, "value", None))
        if self.source is not None:
            shown = repr(self.source)
        raise ConfigError(f"{self.where}{self.key} must be {_described(kind)}, not {shown}")

    def scalar(self, kind: type, node: yaml.ScalarNode) -> Any:
        """Return a single value; None if the text is not of its type."""
        text = node.value
        if kind is str:
            return self.text(node)
        if kind is bool:
            return _TRUTH.get(text.lower())
        if kind is int and _INTEGER.fullmatch(text) and len(text) < 30:
            return int(text)
        if kind is float and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        return None

    def text(self, node: yaml.ScalarNode) -> str:
        """Return a node's text without escapes."""
        return _DOLLAR_BRACE.sub(self._unescaped, node.value) if self.source is None else node.value

    def _unescaped(self, match: re.Match) -> str:
        if len(match[1]) % 2 == 0:
            raise ConfigError(
                f"{self.where}{self.key} holds ${{...}}, which is not replaced by anything here: write the value "
                r"itself, or \${ for these characters"
            )
        return match[1][: len(match[1]) // 2] + "${"


def _unwrapped(hint: Any) -> tuple[Any, bool]:
    """Split `T | None` into T and whether None is allowed."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (kind,) = [each for each in typing.get_args(hint) if each is not type(None)]
        return kind, True
    return hint, False


def _described(kind: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
    if typing.get_origin(kind) is list:
        return f"a list such as [{'a, b' if typing.get_args(kind)[0] is str else '0.1, 0.2'}]"
    return names.get(kind, "a mapping such as {name: 0.5}")


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _as_path(option: Option, text: str, where: str = "") -> str:
    """Expand a leading `~` where the option is a path."""
    if not option.is_path:
        return text
    if not text:
        raise ConfigError(f"{where}{option.key} is empty; give a path, or . for the current folder")
    if "\0" in text:
        raise ConfigError(f"{where}{option.key} holds a NUL character, which no path can")
    try:
        return expand_home(text)
    except ConfigError as error:
        raise ConfigError(f"{where}{option.key}={text}: {error}") from error


def expand_home(path: str) -> str:
    """Expand a leading `~` or `~user`.

    Raises:
        ConfigError: If there is no such home folder.
    """
    if not path.startswith("~"):
        return path
    home, _, rest = path.partition("/")
    try:
        return str(Path(home).expanduser() / rest.lstrip("/"))
    except RuntimeError as error:
        raise ConfigError(
            f"there is no home folder {home}; for a file or folder of this name, write ./{path}"
        ) from error
