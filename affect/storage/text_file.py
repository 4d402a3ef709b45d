"""Reads regular files of UTF-8 text that users provide; errors name file and line."""

import contextlib
import math
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from affect.errors import InvalidFileError, MissingFileError, UserError

MAX_BYTES: Final = 2**31
"""Largest file that is read, 2 GiB; AffectNet's training.csv, the largest known, has about 0.3 GiB."""

_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


@contextlib.contextmanager
def _read_errors(path: str | Path, error: type[UserError]) -> Iterator[None]:
    """Turn an OSError raised in the block into a MissingFileError or an `error` that names the file."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise MissingFileError(f"{path}: no such file") from cause
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or cause}") from cause


def read_regular(path: str | Path, error: type[UserError] = InvalidFileError, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file or a link to one; named pipes and devices are refused, since they may never end.

    Args:
        path: The file.
        error: Class of all errors except that for a missing file.
        max_bytes: Largest size in bytes.

    Raises:
        MissingFileError: If there is no such file.
        UserError: An `error`, if it is not a regular file, is too large or cannot be read.
    """
    with _read_errors(path, error):
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: not a regular file but {_kind(status.st_mode)}")
        if status.st_size > max_bytes:
            raise error(f"{path}: {status.st_size:,} bytes, more than the limit of {max_bytes:,}")
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise error(f"{path}: more bytes than the limit of {max_bytes:,}")
    return content


def _kind(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISDIR: "a folder", stat.S_ISSOCK: "a socket"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")


def read_text(path: str | Path, error: type[UserError] = InvalidFileError, exact: bool = False) -> str:
    r"""Read a regular file of UTF-8 text.

    A byte-order mark is removed. Lines end in "\n" or "\r\n", or all of them in "\r"; the result has "\n".

    Args:
        path: The file, of at most `MAX_BYTES`.
        error: Class of all errors except that for a missing file.
        exact: Keep a byte-order mark and the original line ends.

    Raises:
        MissingFileError: If there is no such file.
        UserError: An `error`, if it is not a regular file, is too large, is not UTF-8 text, or has a NUL byte or a
            carriage return inside a line; the message names the line.
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

    Blanks around a number are ignored. Texts that are not numbers become NaN, including "nan" and "1_000"; infinities
    are parsed.
    """
    # Most columns have few distinct texts, so each is parsed once: this takes a tenth of the time for 2 million rows.
    parsed = {text: _number(text) for text in set(texts)}
    return np.array([parsed[text] for text in texts], np.float64)


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


class Fault(NamedTuple):
    """Something wrong with a file that a user provides.

    Attributes:
        file: Path of the file or folder.
        line: 1-based number of the line; 0 if it concerns the whole file.
        reason: What is wrong. Names and values that were found are quoted; all else is the same for every such fault.
    """

    file: str
    line: int
    reason: str


def raise_or_collect(
    path: str | Path, problems: Sequence[tuple[int, str]], error: type[UserError], faults: list[Fault] | None
) -> None:
    """Raise one error for all malformed lines of a file, or only collect them.

    Args:
        path: The file.
        problems: 1-based line numbers and reasons.
        error: Class of the error.
        faults: List to which the problems are added, in the order of the lines, instead of being raised.

    Raises:
        UserError: An `error`, if there is any problem and no list.
    """
    if faults is not None:
        faults += [Fault(str(path), line, reason) for line, reason in sorted(problems)]
    elif problems:
        raise error(list_problems(path, problems, "malformed line"))


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
