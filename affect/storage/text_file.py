"""Text files that users provide: regular files of UTF-8 text, read with errors that name file and line."""

import contextlib
import math
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import InvalidFileError, MissingFileError, UserError

MAX_BYTES: Final = 2**31
"""Largest file that is read, 2 GiB; AffectNet's training.csv, the largest known, has about 0.3 GiB."""

_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


@contextlib.contextmanager
def _read_errors(path: str | Path, error: type[UserError]) -> Iterator[None]:
    """Turn the operating system's refusal to read a file into an error of the domain."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise MissingFileError(f"{path}: no such file") from cause
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or cause}") from cause


def read_regular(
    path: str | Path, error: type[UserError] = InvalidFileError, max_bytes: int = MAX_BYTES
) -> bytes:
    """Read a regular file, or a link to one; never wait for a named pipe or read a device.

    Args:
        path: The file.
        error: Class of the error for anything but a missing file.
        max_bytes: Largest size in bytes.

    Raises:
        MissingFileError: If there is no such file.
        UserError: Of the class asked for, if it is no regular file, too large or cannot be read.
    """
    with _read_errors(path, error):
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: not a regular file but {_kind(status.st_mode)}")
        if status.st_size > max_bytes:
            raise error(f"{path}: {status.st_size:,} bytes, more than the {max_bytes:,} that are read")
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise error(f"{path}: more than the {max_bytes:,} bytes that are read")
    return content


def _kind(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISDIR: "a folder", stat.S_ISSOCK: "a socket"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")


def read_text(path: str | Path, error: type[UserError] = InvalidFileError, exact: bool = False) -> str:
    r"""Read a regular file of UTF-8 text.

    A byte-order mark is dropped. Lines end in "\n" or "\r\n", or all of them in "\r"; the result has "\n".

    Args:
        path: The file, of at most `MAX_BYTES`.
        error: Class of the error for anything but a missing file.
        exact: Keep a byte-order mark and the line ends as they are.

    Raises:
        MissingFileError: If there is no such file.
        UserError: Of the class asked for, if it is no regular file, too large, no UTF-8 text, holds a NUL byte or has
            a carriage return inside a line; the message names the line.
    """
    content = read_regular(path, error)
    if content.startswith(_UTF16_MARKS):
        raise error(f"{path}:1: UTF-16 text; save it as UTF-8")
    if (start := content.find(b"\0")) >= 0:
        hint = "; UTF-16 text? Save it as UTF-8" if content.count(b"\0") * 4 > len(content) else ""
        raise error(f"{path}:{_line(content, start)}: holds a NUL byte{hint}")
    try:
        text = content.decode()
    except UnicodeDecodeError as cause:
        raise error(
            f"{path}:{_line(content, cause.start)}: not UTF-8 text: byte 0x{content[cause.start]:02X}; if it is "
            "Latin-1 or Windows-1252, save it as UTF-8"
        ) from cause
    if exact:
        return text
    text = text.removeprefix("\ufeff")
    if "\r" not in text:
        return text
    if "\n" not in text:
        return text.replace("\r", "\n")
    text = text.replace("\r\n", "\n")
    if (start := text.find("\r")) >= 0:
        raise error(f"{path}:{text.count(chr(10), 0, start) + 1}: a carriage return inside a line")
    return text


def _line(content: bytes, start: int) -> int:
    before = content[:start]
    return before.count(b"\n" if b"\n" in content else b"\r") + 1


def parse_numbers(texts: Sequence[str]) -> np.ndarray:
    """Parse texts as decimal numbers into float64, shape (N,).

    Blanks around a number are ignored. NaN stands for what is not a number, "nan" and "1_000" included; infinities are
    parsed.
    """
    # Few texts differ in most columns, so each is parsed once: a tenth of the time of parsing 2 million.
    parsed = {text: _number(text) for text in set(texts)}
    return np.array([parsed[text] for text in texts], np.float64)


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def list_problems(path: str | Path, problems: Sequence[tuple[int, str]], title: str, shown: int = 20) -> str:
    """Return one message for all that is wrong with a file: the number of lines concerned, then a line per problem.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        title: What is counted, in the singular: a word that takes an s, such as `malformed line`.
        shown: Largest number of problems that are listed.
    """
    lines = [f"{path}:{line}: {reason}" for line, reason in sorted(problems)[:shown]]
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    count = len({line for line, _ in problems})
    return "\n".join([f"{count} {title}{'s' if count > 1 else ''}", *lines, *more])
