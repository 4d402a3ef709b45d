"""A single number in a file of NumPy's npy format, as AffectNet's 2021 release stores each label."""

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
    """Read the one number that a file holds, as an integer, a float or text; shape () or (1,).

    The header alone decides: neither a pickle is read nor memory allocated for a size that it claims.

    Returns:
        The number; NaN and infinities, which only floats can hold, are returned as they are.

    Raises:
        MissingFileError: If there is no such file.
        UserError: Of the class asked for, if it is not a regular file or holds anything else; the message says what.
    """
    content = read_regular(path, error, _MAX_BYTES)
    if not content.startswith(_MAGIC):
        found = next((name for start, name in _OTHER_FORMATS.items() if content.startswith(start)), None)
        raise error(f"{path}: no npy file: {found or ('other data' if content else 'empty')}")
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
        raise error(
            f"{path}: damaged npy file: {len(content) - header_size:,} bytes of data instead of {item_size:,}"
        )
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
    """Size of magic, version, length field and header text."""
    length_bytes = 2 if content[6:7] == b"\1" else 4
    return 8 + length_bytes + int.from_bytes(content[8 : 8 + length_bytes], "little")


@lru_cache(maxsize=256)  # the same few headers stand in all files of a set
def _parse_header(header: bytes) -> tuple[tuple[int, ...], np.dtype, int]:
    """Parse everything before the data into shape, type and bytes per item.

    Raises:
        ValueError: If it is damaged; NumPy's own messages, which advise unsafe settings, are not passed on.
    """
    file = io.BytesIO(header)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(file)
    except Exception:  # the header is a Python literal: a damaged one fails in a dozen ways
        raise ValueError("its header cannot be parsed") from None
    return shape, kind, kind.itemsize
