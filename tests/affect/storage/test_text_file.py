import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.errors import InvalidFileError, MissingFileError, UserError
from affect.storage import text_file as text_files
from affect.storage.text_file import list_problems, parse_numbers, read_regular, read_text


class DomainError(UserError):
    pass


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", "a\nb\n"),
        (b"\xef\xbb\xbfa\r\nb\r\n", "a\nb\n"),
        (b"a\rb\r", "a\nb\n"),
        ("é\x85\u2028x\n".encode(), "é\x85\u2028x\n"),
        (b"", ""),
    ],
)
def test_text_is_read_with_newlines_as_line_ends(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert read_text(path) == expected
    assert read_text(path, exact=True).encode() == content


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a\nb\0c\n", 2, "holds a NUL byte"),
        (b"\0" * 1000, 1, "holds a NUL byte"),
        ("a\nb\n".encode("utf-16"), 1, "UTF-16 text; save it as UTF-8"),
        ("a\nb\n".encode("utf-16-be"), 1, "holds a NUL byte; UTF-16 text"),
        ("a\nb\n".encode("utf-32"), 1, "UTF-16 text"),
        ("a\nbé\n".encode("latin-1"), 2, "not UTF-8 text: byte 0xE9; if it is Latin-1"),
        (b"a\rb\xff\r", 2, "not UTF-8 text: byte 0xFF"),
        (b"\xed\xa0\x80", 1, "not UTF-8"),
        (b"a\nb\nc\rd\n", 3, "a carriage return inside a line"),
        (b"a\nb\rc\nd\re\n", 2, "a carriage return inside a line"),
        (b"\ra\nb\n", 1, "a carriage return inside a line"),
        (b"a\r\nb\r\r\n", 2, "a carriage return inside a line"),
    ],
)
def test_errors_contain_file_and_line(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DomainError) as caught:
        read_text(path, DomainError)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert reason in str(caught.value)


def test_a_single_nul_byte_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some text\0\n")
    with pytest.raises(DomainError, match=r":1: holds a NUL byte$"):
        read_text(path, DomainError)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (os.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
)
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None], kind: str) -> None:
    path = tmp_path / "a.csv"
    make(path)
    with pytest.raises(DomainError, match=rf"a\.csv: not a regular file but {kind}"):
        read_text(path, DomainError)


def test_missing_files_and_dead_links_are_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"a\.txt: no such file"):
        read_text(tmp_path / "a.txt", DomainError)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DomainError, match="loop: cannot be read"):
        read_text(tmp_path / "loop", DomainError)


def test_files_over_the_size_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidFileError, match=r"1,099,511,627,776 bytes, more than the limit of 2,147,483,648"):
        read_text(path)
    assert text_files.MAX_BYTES == 2**31
    path.write_bytes(b"12345")
    assert read_regular(path, max_bytes=5) == b"12345"
    with pytest.raises(InvalidFileError, match="5 bytes, more than the limit of 4"):
        read_regular(path, max_bytes=4)


def test_texts_that_are_not_decimal_numbers_become_nan() -> None:
    texts = [
        "1",
        "-0.5",
        " 2 ",
        "1e3",
        "inf",
        "1",
        "",
        "nan",
        "1_000",
        "0x10",
        "\u0661",
        "True",
        "1,5",
        "1 2",
    ]
    np.testing.assert_array_equal(parse_numbers(texts), [1, -0.5, 2, 1000, np.inf, 1] + [np.nan] * 8)
    assert parse_numbers([]).shape == (0,)


def test_all_problems_are_counted_and_the_first_are_listed_in_order():
    problems = [(line, f"reason {line}") for line in range(30, 0, -1)]
    assert list_problems("a.csv", problems, "malformed line", shown=3).splitlines() == [
        "30 malformed lines", "a.csv:1: reason 1", "a.csv:2: reason 2", "a.csv:3: reason 3", "... and 27 more",
    ]  # fmt: skip


def test_up_to_twenty_problems_are_listed():
    problems = [(line, "wrong") for line in range(1, 21)]
    assert list_problems("file", problems, "mistake").splitlines() == [
        "20 mistakes", *(f"file:{line}: wrong" for line in range(1, 21)),
    ]  # fmt: skip
    assert list_problems("file", [*problems, (21, "wrong")], "mistake").splitlines()[20:] == [
        "file:20: wrong", "... and 1 more",
    ]  # fmt: skip


def test_a_line_with_several_problems_counts_once():
    assert list_problems("a.csv", [(2, "no name"), (2, "no number")], "malformed line").splitlines() == [
        "1 malformed line", "a.csv:2: no name", "a.csv:2: no number",
    ]  # fmt: skip
