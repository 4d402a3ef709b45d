import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.npy_number import read_number

NUMBERS = [
    3, np.int8(-2), np.uint64(7), 0.25, np.float16(0.5), np.array(1.5, ">f8"), np.array([2.5]), np.longdouble(0.5),
    "4", "-0.125", b"6", np.array([" 7 "]), np.array("8", ">U3"),
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS)
def test_one_number_of_any_type_is_read(tmp_path: Path, value: object) -> None:
    np.save(tmp_path / "a.npy", np.asarray(value))
    assert read_number(tmp_path / "a.npy") == float(np.asarray(value).item())


def test_nan_is_returned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.nan)
    assert np.isnan(read_number(tmp_path / "a.npy"))


def header(text: str, version: bytes = b"\1\0") -> bytes:
    size = len(text).to_bytes(2 if version[:1] == b"\1" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode("latin-1")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_format_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, np.asarray(-0.75), version)
    assert read_number(tmp_path / "a.npy") == -0.75


def saved(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=True)
    return file.getvalue()


ONE = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }\n"
ODD = {
    "objects": (saved(np.array({"a": 1}, object)), "Python objects, which are never read"),
    "pickle": (b"\x80\x04K\x01.", "a Python pickle, which is never read"),
    "npz": (b"PK\3\4rest", "an npz or zip archive"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "macOS metadata"),
    "other data": (b"not an array", "not an npy file: other data"),
    "empty file": (b"", "not an npy file: empty"),
    "word": (saved("happy"), "holds the text 'happy'; expected a number"),
    "number and letter": (saved("4X"), "holds the text '4X'"),
    "text nan": (saved("nan"), "holds the text 'nan'"),
    "bytes": (saved(b"\xff"), "holds the text"),
    "empty text": (saved(np.array("", "<U0")), "holds "),
    "vector": (saved(np.zeros(3)), r"an array of shape \(3,\)"),
    "matrix": (saved(np.zeros((1, 1))), r"an array of shape \(1, 1\)"),
    "no element": (saved(np.zeros(0)), r"an array of shape \(0,\)"),
    "complex": (saved(1j), "values of type complex128"),
    "structured": (saved(np.zeros((), "i4,f8")), "values of type"),
    "date": (saved(np.datetime64("2020-01-01")), "values of type datetime64"),
    "raw bytes": (saved(np.zeros((), "V8")), "values of type"),
    "truth value": (saved(True), "a truth value"),
    "huge shape": (header(ONE % "(1000000000000,)"), r"an array of shape \(1000000000000,\)"),
    "huge item": (header("{'descr': '<U500000000', 'fortran_order': False, 'shape': ()}\n"), "0 bytes of data instead"),
    "text outside Unicode": (
        header("{'descr': '<U1', 'fortran_order': False, 'shape': ()}\n") + b"\xff" * 4, "holds the text",
    ),
    "no data": (header(ONE % "()"), "0 bytes of data instead of 8"),
    "half the data": (saved(0.5)[:-4], "4 bytes of data instead of 8"),
    "too much data": (saved(0.5) + b"x", "9 bytes of data instead of 8"),
    "half the header": (saved(0.5)[:60], "header cannot be parsed"),
    "magic alone": (b"\x93NUMPY", "header cannot be parsed"),
    "unknown version": (header(ONE % "()", b"\3\0") + bytes(8), "header cannot be parsed"),
    "long header": (header("{" + " " * 20000 + "}"), "header cannot be parsed"),
    "nested header": (header("(" * 9000), "header cannot be parsed"),
    "code as header": (header("__import__('os').system('false')\n"), "header cannot be parsed"),
    "negative shape": (header(ONE % "(-1,)"), ""),
    "words as shape": (header(ONE % "('a',)"), "header cannot be parsed"),
    "too large": (bytes(70000), "more than the limit of 65,536"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_other_content_is_refused_without_allocating_memory(tmp_path: Path, kind: str) -> None:
    content, reason = ODD[kind]
    path = tmp_path / "1_exp.npy"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InvalidFileError, match=rf"1_exp\.npy: .*{reason}") as caught:
        read_number(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    for advice in ("allow_pickle", "max_header_size", "trust"):
        assert advice not in str(caught.value)


@pytest.mark.timeout(20)
def test_pipes_and_missing_files_are_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InvalidFileError, match="a named pipe"):
        read_number(tmp_path / "a.npy")
    with pytest.raises(MissingFileError, match=r"b\.npy: no such file"):
        read_number(tmp_path / "b.npy")


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = saved(0.5)
    path = tmp_path / "a.npy"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidFileError, match=r"a\.npy"):
            read_number(path)
