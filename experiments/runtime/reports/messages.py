"""Messages of the commands: sent through `logging`, shown on the terminal by rich, and kept in a run's `run.log`.

Modules use `logging.getLogger(__name__)`. A rich table may be logged in place of a text. A program that imports the
suite sees what its own logging configuration shows.
"""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import Final

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.text import Text

ROOT_LOGGER: Final = logging.getLogger("experiments")
LOG_FILE: Final = "run.log"
_WIDTH: Final = 120
"""Columns of tables where no terminal sets a width."""


class BrokenOutputError(Exception):
    """Standard output is a closed pipe."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise BrokenOutputError, which the command line handles; rich would exit with status 1."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenOutputError


def is_rank_zero() -> bool:
    """Return whether this is the process with global rank 0, the one that writes files and prints."""
    return getattr(rank_zero_only, "rank", 0) == 0


class TerminalHandler(logging.Handler):
    """Print records of rank 0: information to standard output, warnings in yellow to standard error.

    Raises:
        BrokenOutputError: If standard output is a closed pipe.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a line is not wrapped, so that it can be searched for."""
        if not is_rank_zero():
            return
        is_warning = record.levelno >= logging.WARNING
        stream = sys.stderr if is_warning else sys.stdout
        console = _Console(file=stream, width=None if stream.isatty() else _WIDTH)
        if isinstance(record.msg, str):
            text = Text(record.getMessage(), style="yellow" if is_warning else "")
            console.print(text, highlight=False, soft_wrap=True)
        else:
            console.print(record.msg, highlight=False)


class _TableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, str):
            return super().format(record)
        console = Console(file=io.StringIO(), width=_WIDTH)
        console.print(record.msg, highlight=False)
        return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]


class RunLog(logging.FileHandler):
    """Append records to the `run.log` of a run folder, until `close` or until the process logs another run.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        for handler in [each for each in ROOT_LOGGER.handlers if isinstance(each, RunLog)]:
            handler.close()
        super().__init__(folder / LOG_FILE, encoding="utf-8", delay=True)
        self.setFormatter(_TableFormatter("%(asctime)s %(levelname)s %(message)s"))
        ROOT_LOGGER.addHandler(self)

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop logging to the file, for instance on a full disk: a missing line must not end a run."""
        ROOT_LOGGER.removeHandler(self)
        warn(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}; further messages are not kept there")

    def close(self) -> None:
        """Close the file."""
        ROOT_LOGGER.removeHandler(self)
        with contextlib.suppress(OSError):  # reported by handleError
            super().close()


def show_messages(quiet: bool = False) -> None:
    """Show messages on the terminal from here on, replacing an earlier call; if `quiet`, warnings only."""
    for handler in [each for each in ROOT_LOGGER.handlers if isinstance(each, TerminalHandler)]:
        ROOT_LOGGER.removeHandler(handler)
    handler = TerminalHandler(logging.WARNING if quiet else logging.INFO)
    ROOT_LOGGER.addHandler(handler)
    ROOT_LOGGER.setLevel(logging.INFO)
    ROOT_LOGGER.propagate = False


def warn(message: str) -> None:
    """Print a line to standard error at once, also from a rank other than 0 and while the program ends."""
    Console(stderr=True).print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)


def replace_unencodable_output() -> None:
    """Replace characters that the terminal's encoding lacks, for instance under `PYTHONIOENCODING=ascii`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
