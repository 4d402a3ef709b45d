"""The names in a pickle that have a meaning here, and what each call of them gives; every other call is refused."""

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import torch

from affect.errors import InvalidFileError
from affect.storage.checkpoints.records import Call, Name, Record, Storage, StoredTensor, shown, stored_tensor

STORAGE_TYPES: Final[Mapping[str, torch.dtype]] = {
    "torch.DoubleStorage": torch.float64, "torch.FloatStorage": torch.float32, "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16, "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8, "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool, "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128, "torch.storage.UntypedStorage": torch.uint8,
    "torch.QInt8Storage": torch.int8, "torch.QUInt8Storage": torch.uint8, "torch.QInt32Storage": torch.int32,
}  # fmt: skip
"""Type of the elements of each kind of storage; `torch.cuda.FloatStorage` is read as `torch.FloatStorage`."""

DTYPES: Final = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}

_OLD_MODULES: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Names that pickles of protocol 2 use for modules of Python 3."""

_RECORDED_CALLS: Final = frozenset({
    "argparse.Namespace", "datetime.datetime", "datetime.timedelta", "functools.partial", "numpy.dtype",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar", "numpy.ndarray", "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath",
    "pathlib.WindowsPath", "pathlib._local.PosixPath", "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor", "torch.device",
    "torch.serialization._get_layout", "types.SimpleNamespace",
})  # fmt: skip
"""Calls that checkpoints have beside their weights: each becomes a record of its arguments."""

_RECORDED_PACKAGES: Final = ("timm.",)
"""Packages whose calls (of enumerations and the like) become records too."""

_CLASSES_OF_PYTHON: Final = frozenset({
    "builtins.dict", "builtins.float", "builtins.int", "builtins.list", "builtins.object", "builtins.str",
    "builtins.tuple",
})  # fmt: skip
"""Classes that are named as arguments of others."""


def find(module: str, name: str) -> Name | torch.dtype:
    """Return what a pickle's reference to a class or function stands for.

    Raises:
        InvalidFileError: If it names something of Python's library that no weights need, such as `os.system`.
    """
    path = f"{_OLD_MODULES.get(module, module)}.{name}"
    if len(path) > 300 or not all(part.isidentifier() for part in path.split(".")):
        raise InvalidFileError(f"it names {path[:80]!r}, which is no name of a class or function")
    if path in DTYPES:
        return DTYPES[path]
    root = path.partition(".")[0]
    allowed = path in CALLS or path in _RECORDED_CALLS or path in _CLASSES_OF_PYTHON
    if not allowed and (root in sys.stdlib_module_names or root in sys.builtin_module_names):
        raise InvalidFileError(f"it names `{path}`, which no weights need: refused, nothing in it was run")
    return Name(path.replace("torch.cuda.", "torch.", 1) if path.endswith("Storage") else path)


def call(function: Any, args: Any) -> Any:
    """Return what stands for the result of a call in a pickle.

    Raises:
        InvalidFileError: If the function is not known; the message names it.
    """
    if not isinstance(function, Name) or not isinstance(args, tuple):
        raise InvalidFileError("it calls something that is not a function")
    known = CALLS.get(function.path)
    if known is not None:
        try:
            return known(*args)
        except (TypeError, ValueError) as error:
            raise InvalidFileError(f"its arguments for `{function.path}` are not valid: {error!s:.200}") from error
    if function.path in _RECORDED_CALLS or function.path.startswith(_RECORDED_PACKAGES):
        return Record(function.path, args)
    raise InvalidFileError(f"it calls `{function.path}`, which no weights need: refused, nothing in it was run")


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    return stored_tensor(storage, offset, size, stride)


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    if not isinstance(dtype, torch.dtype):
        raise InvalidFileError("a tensor has no type")
    return stored_tensor(storage, offset, size, stride, dtype)


def _of_subclass(function: Any, subclass: Any, args: Any, state: Any) -> Any:
    if not isinstance(function, Name) or not function.path.startswith("torch._utils._rebuild_"):
        raise InvalidFileError(f"it makes a tensor by {shown(function)}")
    return call(function, args)


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise InvalidFileError("it encodes something else than bytes")
    return text.encode("latin1")


def _pairs(pairs: Any = ()) -> OrderedDict[Any, Any]:
    if not isinstance(pairs, list | tuple):
        raise InvalidFileError("a dictionary is made from something else than pairs")
    return OrderedDict((checked_key(key), value) for key, value in pairs)


def _default_dictionary(factory: Any = None) -> dict[Any, Any]:
    return {}


def _tuple(values: Any = ()) -> tuple[Any, ...]:
    return _sequence(values)


def _set(values: Any = ()) -> set[Any]:
    return {checked_key(value) for value in _sequence(values)}


def _sequence(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise InvalidFileError("a collection is made from something else than a list")
    return tuple(values)


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


def _slice(*bounds: Any) -> Record:
    return Record("builtins.slice", bounds)


def checked_key(key: Any) -> Any:
    """Return a key of a dictionary or set.

    Raises:
        InvalidFileError: If it is not text, a number, a name or a short tuple of these: others take time to hash.
    """
    parts = key if type(key) is tuple and len(key) <= 8 else (key,)
    for part in parts:
        if type(part) is int and abs(part) >= 1 << 60:
            raise InvalidFileError("a dictionary has a key beyond 2^60")
        if part is not None and not isinstance(part, str | bytes | int | float | Name | torch.dtype):
            raise InvalidFileError(f"a dictionary has a key of the type {type(part).__name__}")
    return key


CALLS: Final[Mapping[str, Call]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch.Size": _tuple,
    "_codecs.encode": _encoded,
    "builtins.complex": _complex,
    "builtins.frozenset": _set,
    "builtins.set": _set,
    "builtins.slice": _slice,
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": _default_dictionary,
}
"""What stands for the result of each known call."""


def storage_type(name: Any) -> torch.dtype:
    """Return the type of the elements of a kind of storage.

    Raises:
        InvalidFileError: If there is no such kind.
    """
    if not isinstance(name, Name) or name.path not in STORAGE_TYPES:
        raise InvalidFileError(f"it has a storage of the unknown type {shown(name)}")
    return STORAGE_TYPES[name.path]


def described_storage(description: Any) -> Storage | Name:
    """Return what a pickle's reference to something outside of it stands for: a storage, or (legacy) a class.

    The place where the storage was, such as `cuda:0`, does not matter.

    Raises:
        InvalidFileError: If it is neither.
    """
    if not isinstance(description, tuple) or not description:
        raise InvalidFileError("it refers to something that is no storage")
    if description[0] == "module" and len(description) == 4 and isinstance(description[1], Name):
        return description[1]  # followed by its source code, which is not looked at
    if description[0] != "storage" or len(description) not in (5, 6):
        raise InvalidFileError("it refers to something that is no storage")
    kind, key, _, length = description[1:5]
    if description[5:] not in ((), (None,)):
        raise InvalidFileError("it has a view of a storage, as PyTorch before 0.4 wrote them")
    if not isinstance(key, str) or not (key.isascii() and key.isdigit()) or len(key) > 40:
        raise InvalidFileError(f"it has a storage with the key {shown(key)}, which is no number")
    if type(length) is not int or not 0 <= length < 1 << 60:
        raise InvalidFileError(f"its storage {key} has the length {shown(length)}")
    return Storage(key, storage_type(kind), length)
