"""Reads a single number from an npy file, the format of each label in AffectNet's 2021 release."""

import io
import math
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import InvalidFileError, UserError
from affect.storage.text_file import parse_numbers, read_regular

_MAX_BYTES: Final = 2**16
_MAGIC: Final = b"\x93NUMPY"
_OTHER_FORMATS: Final = {
    b"PK": "an npz or zip archive",
    b"\x80": "a Python pickle, which is never read",
    b"\0\5\x16\7": "macOS metadata (AppleDouble)",
}


def read_number(path: str | Path, error: type[UserError] = InvalidFileError) -> float:
    """Read a number that a file stores as an integer, a float or text, in an array of shape () or (1,).

    Safe for files of unknown origin: pickles are refused, and no memory is allocated by the size in the header.

    Returns:
        The number; a float may be NaN or infinite.

    Raises:
        MissingFileError: If there is no such file.
        UserError: An `error`, if it is not a regular file or has other content; the message describes the content.
    """
    content = read_regular(path, error, _MAX_BYTES)
    if not content.startswith(_MAGIC):
        found = next((name for start, name in _OTHER_FORMATS.items() if content.startswith(start)), None)
        raise error(f"{path}: not an npy file: {found or ('other data' if content else 'empty')}")
    header_size = _header_size(content)
    try:
        shape, kind, item_size = _parse_header(content[:header_size])
    except ValueError as cause:
        raise error(f"{path}: damaged npy file: {cause}") from cause
    if kind.kind == "O":
        raise error(f"{path}: holds Python objects, which are never read; expected one number")
    if kind.names is not None or kind.kind not in "biufSU":
        raise error(f"{path}: holds values of type {kind}; expected one number")
    if kind.kind == "b":
        raise error(f"{path}: holds a truth value; expected one number")
    if shape not in ((), (1,)):
        raise error(f"{path}: holds an array of shape {shape}; expected one number")
    if len(content) - header_size != item_size:
        raise error(f"{path}: damaged npy file: {len(content) - header_size:,} bytes of data instead of {item_size:,}")
    if item_size == 0:
        raise error(f"{path}: holds an empty text; expected one number")
    if kind.kind not in "SU":
        return float(np.frombuffer(content, kind, 1, header_size)[0])
    codec = "ascii" if kind.kind == "S" else "utf-32-be" if kind.str[0] == ">" else "utf-32-le"
    text = content[header_size:].decode(codec, "replace").rstrip("\0")
    number = float(parse_numbers([text])[0])
    if math.isnan(number):
        raise error(f"{path}: holds the text {text[:40]!r}; expected a number")
    return number


def _header_size(content: bytes) -> int:
    """Return the number of bytes before the data."""
    length_bytes = 2 if content[6:7] == b"\1" else 4
    return 8 + length_bytes + int.from_bytes(content[8 : 8 + length_bytes], "little")


@lru_cache(maxsize=256)  # all files of a set share a few headers
def _parse_header(header: bytes) -> tuple[tuple[int, ...], np.dtype, int]:
    """Parse everything before the data into shape, type and bytes per item.

    Raises:
        ValueError: If it is damaged; NumPy's own messages are not passed on, since they advise unsafe settings.
    """
    file = io.BytesIO(header)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
    except Exception:  # the header is a Python literal; a damaged one raises errors of many classes
        raise ValueError("its header cannot be parsed") from None
    return shape, kind, kind.itemsize
