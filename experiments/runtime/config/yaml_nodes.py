"""YAML files: read as trees of nodes, in which text is still as it was written, and written so that text survives."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]

from experiments.runtime.config.options import ConfigError

MAX_BYTES: Final = 256 * 1024
"""Largest file that is read; the longest `config.yaml` has less than 10 KB."""

_TAGS: Final = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "seq", "map")
}


class _Loader(yaml.SafeLoader):
    """Composes nodes, but no aliases, which can recur or multiply, and no types but YAML's own simple ones."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"the alias *{event.anchor} is not supported: write the value out",
                event.start_mark,
            )
        node = super().compose_node(parent, index)
        if node.tag not in _TAGS:
            raise yaml.composer.ComposerError(None, None, f"the tag {node.tag} is not supported", node.start_mark)
        return node


def read_yaml(path: Path) -> yaml.Node | None:
    """Read a YAML file; None if it is empty.

    Raises:
        ConfigError: If it is no regular file, too large, not UTF-8, or not YAML; the message names file and line.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {status.st_size:,} bytes and is no recipe: these have at most {MAX_BYTES:,}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8 text"
        ) from error
    return compose(text, str(path))


def compose(text: str, source: str) -> yaml.Node | None:
    """Parse one YAML document; None if it is empty. Messages begin with `source`.

    Raises:
        ConfigError: If it is not YAML, nested too deeply, or holds an alias or a tag.
    """
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.problem, error.context) if part)
        if error.context == "expected a single document in the stream":
            reason = "a second document begins here; a file holds one"
        raise ConfigError(f"{source}:{mark.line + 1 if mark else 1}: invalid YAML: {reason}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{source}:{line}: invalid YAML: the character U+{error.character:04X} is not allowed"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply") from error


class _Dumper(yaml.SafeDumper):
    """Writes what `compose` reads: no aliases; quotes and escapes around line breaks of any kind."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def dump_yaml(values: Mapping[str, object]) -> str:
    """Write nested mappings, lists and single values as YAML, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)


def mapping_items(node: yaml.MappingNode, where: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield the keys and values of a mapping. Messages begin with `where`.

    Raises:
        ConfigError: If a key is no text, or comes twice.
    """
    lines: dict[str, int] = {}
    for name, value in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise ConfigError(f"{where}a key must be a word, not a list or mapping, in line {line}")
        if name.value in lines:
            raise ConfigError(f"{where}the key {name.value!r} is there twice, in lines {lines[name.value]} and {line}")
        lines[name.value] = line
        yield name, value
