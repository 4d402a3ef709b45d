"""Files made to run code, to exhaust memory or time, or to reach other files: each is refused with its reason."""

import io
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from affect.errors import InvalidFileError
from affect.storage.checkpoints.read_weights import read_weights
from affect.storage.checkpoints.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL

CANARY = "touched_by_a_pickle"
COMMAND = f"touch {CANARY}"


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return pickle.LONG1 + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def numbers(values: list[int]) -> bytes:
    return pickle.MARK + b"".join(number(value) for value in values) + pickle.TUPLE


def call(module: str, attribute: str, *args: bytes) -> bytes:
    return name(module, attribute) + pickle.MARK + b"".join(args) + pickle.TUPLE + pickle.REDUCE


def dictionary(key: bytes, value: bytes) -> bytes:
    return pickle.EMPTY_DICT + key + value + pickle.SETITEM


def program(*parts: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + b"".join(parts) + pickle.STOP


def storage(length: int = 4, key: str = "0", kind: str = "FloatStorage", module: str = "torch") -> bytes:
    parts = text("storage") + name(module, kind) + text(key) + text("cpu") + number(length)
    return pickle.MARK + parts + pickle.TUPLE + pickle.BINPERSID


def tensor(size: list[int], stride: list[int], offset: int = 0, of: bytes | None = None) -> bytes:
    parts = (of or storage(), number(offset), numbers(size), numbers(stride))
    return dictionary(text("a"), call("torch._utils", "_rebuild_tensor_v2", *parts, pickle.NEWFALSE, pickle.NONE))


def zipped(data: bytes, entries: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file of torch.save with a pickle of one's own, and 16 bytes in storage 0."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for entry, content in {"archive/version": b"3\n", "archive/data/0": bytes(16), **(entries or {})}.items():
            archive.writestr(entry, content)
    return stream.getvalue()


def legacy(data: bytes) -> bytes:
    """Return the same in the format before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, 2) for part in (LEGACY_MAGIC, LEGACY_PROTOCOL, system))
    return head + data + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)


class Reduced:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def nested(function: str, depth: int) -> bytes:
    """Return calls of calls, the innermost of a shell."""
    data = call("os", "system", text(COMMAND))
    for _ in range(depth):
        data = call("builtins", function, data)
    return data


def doubled_tuples(depth: int) -> bytes:
    """Return a tuple of two references to a tuple of two references to ...: 2^depth paths."""
    data = pickle.EMPTY_TUPLE
    for index in range(depth):
        data += pickle.BINPUT + bytes([index]) + pickle.BINGET + bytes([index]) + pickle.TUPLE2
    return data


def module(children: bytes, parameters: bytes = pickle.EMPTY_DICT) -> bytes:
    """Return a network with children and parameters."""
    attributes = text("_parameters") + parameters + text("_buffers") + pickle.EMPTY_DICT + text("_modules") + children
    state = pickle.EMPTY_DICT + pickle.MARK + attributes + pickle.SETITEMS
    return name("torch.nn.modules.container", "Sequential") + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD


def doubled_modules(depth: int) -> bytes:
    """Return a network whose children both are the same network whose children both are ...: 2^depth paths."""
    data = module(pickle.EMPTY_DICT)
    for index in range(depth):
        put, get = pickle.BINPUT + bytes([index]), pickle.BINGET + bytes([index])
        children = pickle.EMPTY_DICT + pickle.MARK + text("a") + get + text("b") + get + pickle.SETITEMS
        data += put + pickle.POP + module(children)
    return data


def endless_module() -> bytes:
    empty = pickle.EMPTY_DICT + pickle.BINPUT + b"\x00"
    return (
        module(empty)
        + pickle.BINPUT
        + b"\x01"
        + pickle.BINGET
        + b"\x00"
        + text("a")
        + pickle.BINGET
        + b"\x01"
        + (pickle.SETITEM + pickle.POP)
    )


def renamed(content: bytes, old: str, new: str) -> bytes:
    assert len(old) == len(new)
    return content.replace(old.encode(), new.encode())


def overlapping(copies: int) -> bytes:
    """Return a file whose storages are one and the same region under many names."""
    size = 1 << 16
    tensors = b"".join(
        text(f"t{index}")
        + call("torch._utils", "_rebuild_tensor_v2", storage(size, str(index), "ByteStorage"), number(0),
               numbers([size]), numbers([1]), pickle.NEWFALSE, pickle.NONE)
        for index in range(copies)
    )  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", program(pickle.EMPTY_DICT, pickle.MARK, tensors, pickle.SETITEMS))
        archive.writestr("a/data/0", bytes(size))
        first = archive.getinfo("a/data/0")
        for index in range(1, copies):
            twin = zipfile.ZipInfo(f"a/data/{index}")
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            twin.file_size = twin.compress_size = size
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    return stream.getvalue()


OPEN_END = pickle.PROTO + b"\x02"
GOOD = program(tensor([4], [1]))
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    # Calls.
    "os.system": (lambda: zipped(program(call("os", "system", text(COMMAND)))), "names `os.system`"),
    "posix.system, legacy": (lambda: legacy(program(call("posix", "system", text(COMMAND)))), "names `posix.system`"),
    "builtins.eval": (lambda: zipped(program(call("__builtin__", "eval", text("1")))), "names `builtins.eval`"),
    "builtins.exec": (lambda: zipped(program(call("builtins", "exec", text("1")))), "names `builtins.exec`"),
    "builtins.getattr": (lambda: zipped(program(call("builtins", "getattr", text("a")))), "names `builtins.getattr`"),
    "subprocess.Popen": (lambda: zipped(program(call("subprocess", "Popen", text(COMMAND)))), "`subprocess.Popen`"),
    "import_module": (lambda: zipped(program(call("importlib", "import_module", text("this")))), "`importlib.import_m"),
    "a class of ctypes": (lambda: zipped(program(name("ctypes", "CDLL"), pickle.EMPTY_TUPLE, pickle.NEWOBJ)), "`ctyp"),
    "runpy": (lambda: zipped(program(call("runpy", "run_path", text("/tmp/x.py")))), "names `runpy.run_path`"),
    "nested calls": (lambda: zipped(program(nested("list", 50))), "names `os.system`"),
    "numpy's eval": (lambda: zipped(program(call("numpy.testing._private.utils", "runstring", text("1")))), "calls `n"),
    "torch.hub.load": (lambda: zipped(program(call("torch.hub", "load", text("a/b")))), "calls `torch.hub.load`"),
    "torch.load in a tensor": (
        lambda: zipped(program(call("torch.storage", "_load_from_bytes", text("x")))), "calls `torch.storage._load_f"
    ),
    "a call through partial": (
        lambda: zipped(program(call("functools", "partial", name("os", "system"), text(COMMAND)), pickle.EMPTY_TUPLE,
                               pickle.REDUCE)), "names `os.system`"
    ),
    "a call of a record": (
        lambda: zipped(program(call("functools", "partial", text("x")), pickle.EMPTY_TUPLE, pickle.REDUCE)),
        "calls something that is not a function",
    ),
    "a subclass's rebuilding": (
        lambda: zipped(program(call("torch._tensor", "_rebuild_from_type_v2", name("numpy", "load"),
                                    name("torch", "Tensor"), pickle.EMPTY_TUPLE, pickle.NONE))), "by `numpy.load`"
    ),
    "a name with a path": (lambda: zipped(program(name("../../evil", "run"))), "no name of a class"),
    "a dotted attribute": (
        lambda: zipped(program(text("torch"), text("os.system"), pickle.STACK_GLOBAL, numbers([]), pickle.REDUCE)),
        "calls `torch.os.system`",
    ),
    "a plain pickle": (lambda: pickle.dumps(Reduced(print, "run")), "names `builtins.print`"),
    "state of a name": (
        lambda: zipped(program(name("torch.nn", "Linear"), pickle.EMPTY_DICT, pickle.BUILD)), "sets the state of a Name"
    ),
    "setstate of a dictionary": (
        lambda: zipped(program(pickle.EMPTY_DICT, pickle.EMPTY_DICT, pickle.BUILD)), "sets the state of a dict"
    ),
    "instructions of old protocols": (lambda: zipped(b"(S'touch x'\nios\nsystem\n."), "instruction STRING"),
    "an extension code": (lambda: zipped(program(pickle.EXT1, b"\x01")), "instruction EXT1"),
    # Memory and time.
    "a storage of 2^40 elements": (lambda: zipped(program(tensor([4], [1], of=storage(1 << 40)))), "larger than the"),
    "the same, legacy": (lambda: legacy(program(tensor([4], [1], of=storage(1 << 40)))), "larger than the file"),
    "a storage of -4 elements": (lambda: zipped(program(tensor([4], [1], of=storage(-4)))), "has the length -4"),
    "a negative stride": (lambda: zipped(program(tensor([4], [-1]))), r"strides \(-1\)"),
    "a negative offset": (lambda: zipped(program(tensor([2], [1], -2))), r"offset \(-2\)"),
    "a stride outside": (lambda: zipped(program(tensor([2], [1 << 40]))), "does not fit its storage"),
    "an offset outside": (lambda: zipped(program(tensor([4], [1], 1))), "does not fit its storage"),
    "a tensor of 2^40 repetitions": (lambda: zipped(program(tensor([1 << 40], [0]))), "does not fit its storage"),
    "a shape that overflows": (lambda: zipped(program(tensor([1 << 62] * 4, [0] * 4))), "does not fit its storage"),
    "10,000 dimensions": (lambda: zipped(program(tensor([1] * 10_000, [0] * 10_000))), "at most 64 integers"),
    "an unknown storage": (lambda: zipped(program(tensor([4], [1], of=storage(kind="X")))), "unknown type `torch.X`"),
    "a storage with two sizes": (
        lambda: zipped(program(tensor([4], [1]), storage(2), pickle.TUPLE2)), "storage 0 has two sizes"
    ),
    "a storage shorter than it says": (lambda: zipped(program(tensor([5], [1], of=storage(5)))), "16 bytes, not 20"),
    "overlapping storages": (lambda: overlapping(400), "overlap|damaged"),
    "a compressed pickle": (lambda: zipped(program(bytes(10**7)), compression=zipfile.ZIP_DEFLATED), "is compressed"),
    "a compressed storage": (
        lambda: zipped(program(tensor([1 << 24], [1], of=storage(1 << 24, kind="ByteStorage"))),
                       {"archive/data/0": bytes(1 << 24)}, zipfile.ZIP_LZMA), "compressed|larger than the file"
    ),
    "an integer of 2^31 bytes": (lambda: zipped(OPEN_END + pickle.LONG4 + struct.pack("<I", 1 << 31)), "an integer of"),
    "an integer of 255 bytes": (lambda: zipped(OPEN_END + pickle.LONG1 + bytes([255])), "an integer of 255 bytes"),
    "text of 2^31 bytes": (lambda: zipped(OPEN_END + pickle.BINUNICODE + struct.pack("<I", 1 << 31)), "more than"),
    "bytes of 2^62": (lambda: zipped(OPEN_END + pickle.BINBYTES8 + struct.pack("<Q", 1 << 62)), "more than the file"),
    "a memo of 2^32 entries": (
        lambda: zipped(program(pickle.NONE, pickle.LONG_BINPUT, b"\xff" * 4, pickle.LONG_BINGET, b"\xfe" * 4)),
        "damaged or cut",
    ),
    "one list copied 100,000 times": (
        lambda: zipped(program(pickle.EMPTY_LIST, pickle.MARK, pickle.NONE * 10**5, pickle.APPENDS, pickle.BINPUT,
                               b"\0", (name("builtins", "set") + pickle.BINGET + b"\0" + pickle.TUPLE1 + pickle.REDUCE
                                       + pickle.POP) * 10_000)), "copies the same values again and again"
    ),
    "a key that takes 2^100 steps": (
        lambda: zipped(program(pickle.EMPTY_DICT, doubled_tuples(100), pickle.NONE, pickle.SETITEM)), "key of the type"
    ),
    "keys that collide": (
        lambda: zipped(program(dictionary(number(1 << 61), pickle.NONE))), r"key beyond 2\^60"
    ),
    "a message that takes 2^100 steps": (
        lambda: zipped(program(tensor([4], [1], of=doubled_tuples(100)))), "has no storage"
    ),
    "lists in lists in lists": (
        lambda: zipped(program(pickle.EMPTY_LIST * 10**5, pickle.APPEND * (10**5 - 1))), "no state dict"
    ),
    "modules with 2^60 paths": (lambda: zipped(program(doubled_modules(60))), "more than 10000 modules"),
    "a module that contains itself": (lambda: zipped(program(endless_module())), "contains itself"),
    "a name of a million letters": (
        lambda: zipped(program(module(dictionary(text("a" * 10**6), module(pickle.EMPTY_DICT))))), "1000000 characters"
    ),
    "an endless line": (lambda: zipped(OPEN_END + pickle.GLOBAL + b"a" * 10**6), "too long or cut"),
    "a million instructions": (lambda: zipped(program((pickle.NONE + pickle.POP) * 500_001)), "instructions"),
    # Other files.
    "an entry in another folder": (lambda: zipped(GOOD, {"../../evil": b""}), "would lie outside"),
    "an absolute entry": (lambda: zipped(GOOD, {"/etc/passwd": b""}), "would lie outside"),
    "an entry with backslashes": (lambda: zipped(GOOD, {"archive/..\\evil": b""}), "would lie outside"),
    "a storage elsewhere": (lambda: zipped(program(tensor([4], [1], of=storage(key="../../x")))), "which is no number"),
    "two entries of one name": (
        lambda: renamed(zipped(GOOD, {"archive/data/1": b""}), "archive/data/1", "archive/data/0"), "have one name"
    ),
    "two pickles": (lambda: zipped(GOOD, {"other/data.pkl": GOOD}), "no `data.pkl`"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_the_file_is_refused_and_nothing_happens(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build, reason = FILES[kind]
    path = tmp_path / "evil.pt"
    path.write_bytes(build())
    size = path.stat().st_size
    modules = set(sys.modules)
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(InvalidFileError, match=reason) as caught:
            read_weights(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "evil.pt" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert peak < (6 << 20) + 100 * size
    assert time.process_time() - started < 60
    assert {module for module in set(sys.modules) - modules if not module.startswith("encodings.")} == set()
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pt"]


def test_the_same_files_without_malice_are_read(tmp_path: Path) -> None:
    """Check the tests themselves: what they build is what torch.save writes."""
    for build in (zipped, legacy):
        path = tmp_path / "good.pt"
        path.write_bytes(build(GOOD))
        assert read_weights(path).tensors["a"].tolist() == [0] * 4
    path.write_bytes(zipped(GOOD))
    assert torch.load(path)["a"].tolist() == [0] * 4


def test_there_are_more_than_twenty_of_them() -> None:
    assert len(FILES) > 20


def test_the_first_file_would_run_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the tests themselves: Python's own reader runs it."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(program(call("os", "system", text(COMMAND))))
    assert (tmp_path / CANARY).exists()
