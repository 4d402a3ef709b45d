"""Reads a pickle without running it: a machine for the instructions that checkpoints have, and for no others.

Every instruction takes at least a byte of the file and makes one object of fixed size, so that memory is bounded by the
file's size and by `MAX_INSTRUCTIONS`.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from affect.errors import InvalidFileError
from affect.storage.checkpoints.known_names import call, checked_key, find
from affect.storage.checkpoints.records import Name, Record

MAX_INSTRUCTIONS: Final = 1_000_000
"""A whole EfficientNet-B0 has 47,000."""
MAX_INTEGER_BYTES: Final = 16
MAX_NAME: Final = 300

_CONSTANTS: Final = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.EMPTY_TUPLE: ()}
_COLLECTIONS: Final[dict[bytes, Callable[[], Any]]] = {
    pickle.EMPTY_LIST: list, pickle.EMPTY_DICT: dict, pickle.EMPTY_SET: set,
}  # fmt: skip
_NUMBERS: Final = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
_TEXTS: Final = {
    pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q",
    pickle.SHORT_BINSTRING: "<B", pickle.BINSTRING: "<I",
}  # fmt: skip
_BYTES: Final = {
    pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q", pickle.BYTEARRAY8: "<Q",
}  # fmt: skip
_INTEGERS: Final = {pickle.LONG1: "<B", pickle.LONG4: "<I"}
_REMEMBERED: Final = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
_REMEMBER: Final = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_TUPLES: Final = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_DAMAGE: Final = (IndexError, KeyError, struct.error, UnicodeDecodeError)


def read_pickle(file: BinaryIO, size: int, persistent: Callable[[Any], Any]) -> Any:
    """Read one pickle from where a file stands.

    Args:
        file: The file; afterwards it stands behind the pickle.
        size: Number of bytes that can be in the pickle, such as the size of the file.
        persistent: Returns what a reference to something outside the pickle stands for.

    Returns:
        Containers, numbers and text as they are; `StoredTensor` for tensors, `Record` for other objects, `Name` for
        classes and functions.

    Raises:
        InvalidFileError: If it is damaged, too large, or would do something else than describe weights.
    """
    machine = _Machine(file, size, persistent)
    try:
        return machine.run()
    except _DAMAGE as error:
        raise InvalidFileError(f"its pickle is damaged or cut ({type(error).__name__})") from error


class _Machine:
    def __init__(self, file: BinaryIO, size: int, persistent: Callable[[Any], Any]) -> None:
        self.file = file
        self.size = size
        self.persistent = persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the marks
        self.memo: dict[int, Any] = {}
        self.num_copied = 0

    def run(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            instruction = self.file.read(1)
            if instruction == pickle.STOP:
                return self.stack.pop()
            if instruction in _CONSTANTS:
                self.stack.append(_CONSTANTS[instruction])
            elif instruction in _COLLECTIONS:
                self.stack.append(_COLLECTIONS[instruction]())
            elif instruction in _NUMBERS:
                self.stack.append(self._number(_NUMBERS[instruction]))
            elif instruction in _TEXTS:
                text = self._sized(_TEXTS[instruction])
                is_old = instruction in (pickle.SHORT_BINSTRING, pickle.BINSTRING)
                self.stack.append(text.decode("latin1" if is_old else "utf-8", "strict" if is_old else "surrogatepass"))
            elif instruction in _BYTES:
                self.stack.append(self._sized(_BYTES[instruction]))
            elif instruction in _INTEGERS:
                self.stack.append(pickle.decode_long(self._sized(_INTEGERS[instruction], MAX_INTEGER_BYTES)))
            elif instruction in _REMEMBERED:
                self.stack.append(self.memo[self._number(_REMEMBERED[instruction])])
            elif instruction in _REMEMBER:
                self.memo[self._number(_REMEMBER[instruction])] = self.stack[-1]
            elif instruction in _TUPLES:
                count = _TUPLES[instruction]
                if len(self.stack) < count:
                    raise IndexError("too few values for a tuple")
                self.stack[-count:] = [tuple(self.stack[-count:])]
            elif instruction in _OTHERS:
                _OTHERS[instruction](self)
            else:
                self._refuse(instruction)
        raise InvalidFileError(f"its pickle has more than {MAX_INSTRUCTIONS} instructions")

    def _refuse(self, instruction: bytes) -> None:
        if not instruction:
            raise InvalidFileError("its pickle ends in the middle")
        name = next((name for name in pickle.__all__ if getattr(pickle, name) == instruction), None)
        raise InvalidFileError(f"its pickle has the instruction {name or repr(instruction)}, which no weights need")

    def _exactly(self, count: int) -> bytes:
        if count > self.size:
            raise InvalidFileError(f"its pickle announces {count} bytes, more than the file has")
        data = self.file.read(count)
        if len(data) != count:
            raise InvalidFileError("its pickle ends in the middle")
        return data

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._exactly(struct.calcsize(kind)))[0]

    def _sized(self, kind: str, limit: int | None = None) -> bytes:
        count = self._number(kind)
        if limit is not None and count > limit:
            raise InvalidFileError(f"its pickle has an integer of {count} bytes")
        return self._exactly(count)

    def _line(self) -> str:
        line = self.file.readline(MAX_NAME)
        if not line.endswith(b"\n"):
            raise InvalidFileError("its pickle has a name that is too long or cut")
        return line[:-1].decode("utf-8")

    def _above_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.outer.pop()
        return values

    def _protocol(self) -> None:
        version = self._number("<B")
        if version > pickle.HIGHEST_PROTOCOL:
            raise InvalidFileError(f"its pickle has the unknown protocol {version}")

    def _frame(self) -> None:
        self._number("<Q")  # the number of bytes to read ahead; nothing is

    def _mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _tuple(self) -> None:
        values = tuple(self._above_mark())
        self.stack.append(values)

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._above_mark()

    def _pop_mark(self) -> None:
        self._above_mark()

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self._above_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Record):
            target.items.extend(values)
        else:
            raise InvalidFileError(f"its pickle appends to a {type(target).__name__}")

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _set_items(self) -> None:
        self._update(self._above_mark())

    def _update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target = target.entries
        if not isinstance(target, dict) or len(values) % 2:
            raise InvalidFileError(f"its pickle sets items of a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[checked_key(key)] = value

    def _add_items(self) -> None:
        values, target = self._above_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise InvalidFileError(f"its pickle adds to a {type(target).__name__}")
        target.update(checked_key(value) for value in values)

    def _frozen_set(self) -> None:
        values = self._above_mark()
        self.stack.append(frozenset(checked_key(value) for value in values))

    def _global(self) -> None:
        module = self._line()
        self.stack.append(find(module, self._line()))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise InvalidFileError("its pickle names something that is no text")
        self.stack.append(find(module, name))

    def _new_object(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        self._record(kind, args)

    def _new_object_with_keywords(self) -> None:
        keywords, args, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._record(kind, (args, keywords))

    def _record(self, kind: Any, args: Any) -> None:
        if not isinstance(kind, Name) or not isinstance(args, tuple):
            raise InvalidFileError("its pickle makes an object of something that is not a class")
        self.stack.append(Record(kind.path, args))

    def _reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        parts = args if isinstance(args, tuple) else ()
        self.num_copied += sum(len(part) for part in parts if isinstance(part, list | tuple | str))
        if self.num_copied > self.size:  # each part has been read from a byte at least, if it is used once
            raise InvalidFileError("its pickle copies the same values again and again")
        self.stack.append(call(function, args))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, OrderedDict):  # PyTorch's has versions of modules as an attribute, not needed here
            raise InvalidFileError(f"its pickle sets the state of a {type(target).__name__}")

    def _persistent(self) -> None:
        self.stack.append(self.persistent(self.stack.pop()))


_OTHERS: Final[dict[bytes, Callable[[_Machine], None]]] = {
    pickle.PROTO: _Machine._protocol, pickle.FRAME: _Machine._frame, pickle.MARK: _Machine._mark,
    pickle.TUPLE: _Machine._tuple, pickle.MEMOIZE: _Machine._memoize, pickle.POP: _Machine._pop,
    pickle.POP_MARK: _Machine._pop_mark, pickle.APPEND: _Machine._append, pickle.APPENDS: _Machine._appends,
    pickle.SETITEM: _Machine._set_item, pickle.SETITEMS: _Machine._set_items, pickle.ADDITEMS: _Machine._add_items,
    pickle.FROZENSET: _Machine._frozen_set, pickle.GLOBAL: _Machine._global,
    pickle.STACK_GLOBAL: _Machine._stack_global, pickle.NEWOBJ: _Machine._new_object,
    pickle.NEWOBJ_EX: _Machine._new_object_with_keywords, pickle.REDUCE: _Machine._reduce,
    pickle.BUILD: _Machine._build, pickle.BINPERSID: _Machine._persistent,
}  # fmt: skip
