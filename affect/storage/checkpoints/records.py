"""What a pickle is read into instead of objects: names, inert records, and descriptions of tensors."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from affect.errors import InvalidFileError

MAX_DIMENSIONS: Final = 64
"""As in NumPy and ONNX; PyTorch has no limit."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names, `package.module.name`; it is not imported."""

    path: str


@dataclass(slots=True)
class Record:
    """An object of a class that is not needed to read weights.

    Attributes:
        kind: Path of its class.
        args: What it was constructed with.
        state: What its attributes would be; usually a dictionary.
        items: What was appended to it, if it is a kind of list.
        entries: What was set in it, if it is a kind of dictionary.
    """

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def attribute(self, name: str) -> Any:
        """Return an attribute, None if the object has none of this name."""
        return self.state.get(name) if isinstance(self.state, dict) else None


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of a file that tensors share.

    Attributes:
        key: Its name in the file.
        dtype: Type of its elements.
        length: Number of its elements.
    """

    key: str
    dtype: torch.dtype
    length: int

    @property
    def num_bytes(self) -> int:
        """Size in bytes."""
        return self.length * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: a view on a storage that lies inside of it and is no larger.

    Attributes:
        storage: Where its elements are.
        dtype: Their type.
        offset: Position of the first, in elements.
        size: Shape.
        stride: Steps between elements, one per dimension.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


Call = Callable[..., Any]


def stored_tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None) -> StoredTensor:
    """Check what a pickle says of a tensor.

    Raises:
        InvalidFileError: If it would reach outside its storage or repeat elements of it, or is no such description.
    """
    if not isinstance(storage, Storage):
        raise InvalidFileError("a tensor has no storage")
    dtype = dtype or storage.dtype
    size, stride = _integers("shape", size), _integers("strides", stride)
    (offset,) = _integers("offset", (offset,))
    if len(size) != len(stride):
        raise InvalidFileError(f"a tensor has {len(size)} dimensions and {len(stride)} strides")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else offset - 1
    available = storage.num_bytes // dtype.itemsize
    if last >= available or offset > available or count > available:
        raise InvalidFileError(
            f"a tensor of shape {shown(size)}, strides {shown(stride)} and offset {offset} does not fit its storage "
            f"{storage.key} of {available} elements"
        )
    return StoredTensor(storage, dtype, offset, size, stride)


def _integers(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or len(values) > MAX_DIMENSIONS:
        raise InvalidFileError(f"a tensor's {what} is no list of at most {MAX_DIMENSIONS} integers")
    if not all(type(value) is int and 0 <= value < 1 << 63 for value in values):
        raise InvalidFileError(f"a tensor's {what} {shown(values)} is no list of integers from 0 on")
    return tuple(values)


def shown(value: Any) -> str:
    """Return a value of a pickle for a message: a shallow one, since nested ones can be endless."""
    if isinstance(value, list | tuple):
        return f"({', '.join(shown(part) if not isinstance(part, list | tuple) else '...' for part in value[:8])})"
    if isinstance(value, Name):
        return f"`{value.path}`"
    if isinstance(value, str | bytes):
        return repr(value[:80])
    return str(value) if isinstance(value, int | float) else type(value).__name__
