"""The text of `--help`: every key with its value and its meaning."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.runtime.config.options import Option, option_value
from experiments.runtime.config.values import to_text


def describe_options(
    usage: str, recipes: Sequence[str], options: Iterable[Option], config: Any, marks: Mapping[str, str]
) -> str:
    """Format all options for the terminal; keys are never cut.

    `config` is the configuration that the command would run with; `marks` says by key where a value comes from if it is
    not the default.
    """
    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    lines = [f"usage: {usage}"]
    if recipes:
        lines += _wrapped(f"recipes: {', '.join(recipes)}", width)
    lines += [
        "",
        *_wrapped("Keys with the values that this command would use; a mark names what set a value.", width),
    ]
    for entry in options:
        lines += ["", *_wrapped(_assignment(entry, config, marks), width, hanging=True)]
        limits = f" ({entry.limits})" if str(entry.limits) else ""
        lines += _wrapped(entry.field.metadata["help"] + limits, width, indented=True)
    return "\n".join(lines)


def _assignment(entry: Option, config: Any, marks: Mapping[str, str]) -> str:
    if entry.required and entry.key not in marks:
        return f"{entry.key}=  [required]"
    text = f"{entry.key}={to_text(option_value(config, entry.key))}"
    return f"{text}  [{marks[entry.key]}]" if entry.key in marks else text


def _wrapped(text: str, width: int, indented: bool = False, hanging: bool = False) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="    " if indented else "", subsequent_indent="    " if indented or hanging else "",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
