"""What the experiments print: lines, and their closing tables."""

import io
import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


class BrokenOutputError(Exception):
    """Standard output is a closed pipe."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise, so that the command line can tell how to go on; Rich would exit with status 1."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenOutputError


def say(message: Any) -> None:
    """Print a line or a table to the terminal; a table keeps its width where nobody sees it but a log.

    Raises:
        BrokenOutputError: If standard output is a closed pipe.
    """
    console = _Console(width=None if sys.stdout.isatty() else 120)
    console.print(message, highlight=False, soft_wrap=isinstance(message, str))


def replace_unencodable_output() -> None:
    """Let characters that the terminal's encoding lacks be replaced, for instance under `PYTHONIOENCODING=ascii`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def published_if_official(published: Mapping[str, float], official: bool) -> Mapping[str, float]:
    """Return published values if the set is the one that they are of; beside results on other data they mislead."""
    return published if official else {}


def warn(message: str) -> None:
    """Print a line to standard error as it is."""
    Console(stderr=True).print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)


def results_table(title: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> Table:
    """Lay metrics beside published values; a published metric that this run could not measure shows a dash, not 0.

    Args:
        title: Heading.
        metrics: Names and values of this run.
        published: Names and published values, which lead the order; their column is left out if there are none.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if published:
        table.add_column("published", justify="right")
    for name in dict.fromkeys([*published, *metrics]):
        cells = [_format(metrics[name]) if name in metrics else "—"]
        if published:
            cells.append(_format(published[name]) if name in published else "")
        table.add_row(name, *cells)
    return table


def _format(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
