import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.storage.text_file import Fault
from datamodules.readers.aff_wild2 import read_annotations, read_test_list
from datamodules.readers.annotation_errors import AnnotationError

HEADER = "image,valence,arousal,expression,aus"
UNITS = "0,1,0,0,0,0,0,0,0,0,0,1"
NO_UNITS = ",".join(["-1"] * 12)
GOOD = f"video/00001.jpg,0.5,-0.25,3,{UNITS}"

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_list(content: str | bytes) -> Path:
        path = tmp_path / "list.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_list


def test_sentinels_become_missing_values(write: Write) -> None:
    rows = [HEADER, GOOD, f"video/00002.jpg,-5,-5,-1,{UNITS}", f"v2/00001.jpg,-1.0,1,0,{NO_UNITS}"]
    read = read_annotations(write("\n".join(rows)))
    assert read.name == ["video/00001.jpg", "video/00002.jpg", "v2/00001.jpg"]
    np.testing.assert_array_equal(read.expression, [3, -1, 0])
    np.testing.assert_array_equal(read.valence_arousal, np.array([[0.5, -0.25], [np.nan, np.nan], [-1, 1]], np.float32))
    np.testing.assert_array_equal(read.action_units[0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert np.isnan(read.action_units[2]).all()
    assert read.valence_arousal.dtype == read.action_units.dtype == np.float32
    assert (read.report.valence_arousal, read.report.expression, read.report.action_units) == (2, 2, 2)
    assert read.report.expression_counts == (1, 0, 0, 1, 0, 0, 0, 0)
    assert read.report.videos == 2


def test_only_rows_without_any_label_are_dropped(write: Write) -> None:
    rows = [HEADER, f"v/00001.jpg,-5,-5,-1,{NO_UNITS}", f"v/00002.jpg,-5,-5,2,{NO_UNITS}"]
    rows += [f"v/00003.jpg,-5,-5,-1,{NO_UNITS[:-2]}1", f"v/00004.jpg,.1,-5,-1,{NO_UNITS}"]
    read = read_annotations(write("\n".join(rows)))
    assert read.name == ["v/00002.jpg", "v/00003.jpg", "v/00004.jpg"]
    assert (read.report.rows, read.report.labelled, read.report.partial) == (4, 3, 2)
    assert read.report.valence_arousal == 0, "half a pair is no valence/arousal label"
    assert "1 without any label dropped" in read.report.summary()


def test_duplicates_are_kept_and_counted(write: Write) -> None:
    read = read_annotations(write("\n".join([HEADER, GOOD, GOOD, GOOD.replace("00001", "00002")])))
    assert len(read) == 3
    assert read.report.duplicates == 1


def test_layout_variants_read_the_same(write: Write) -> None:
    plain = read_annotations(write(f"{HEADER}\n{GOOD}\n{GOOD}\n"))
    crlf = f"\ufeff{HEADER},,,\r\n{GOOD},,\r\n\r\n   \r\n {GOOD}\r\n"
    other = read_annotations(write(crlf))
    assert other.name == plain.name
    np.testing.assert_array_equal(other.valence_arousal, plain.valence_arousal)
    assert other.report == plain.report


BROKEN = {
    "too few values": (f"{HEADER}\n{GOOD}\nvideo/00002.jpg,0.5,0.5,1\n", 3, "4 values, expected 16"),
    "too many values": (f"{HEADER}\n{GOOD},1\n", 2, "17 values, expected 16"),
    "an empty value": (f"{HEADER}\n{GOOD.replace('0.5', '')}\n", 2, "valence is '', expected a number"),
    "a word": (f"{HEADER}\n{GOOD.replace('0.5', 'high')}\n", 2, "valence is 'high', expected a number"),
    "valence out of range": (f"{HEADER}\n\n{GOOD.replace('0.5', '1.5')}\n", 3, "valence is '1.5', expected"),
    "arousal not finite": (f"{HEADER}\n{GOOD.replace('-0.25', 'nan')}\n", 2, "arousal is 'nan', expected"),
    "expression out of range": (
        f"{HEADER}\n{GOOD.replace(',3,', ',8,')}\n",
        2,
        "expression is '8', expected",
    ),
    "expression not whole": (
        f"{HEADER}\n{GOOD.replace(',3,', ',2.5,')}\n",
        2,
        "expression is '2.5', expected",
    ),
    "action unit not 0, 1 or -1": (f"{HEADER}\n{GOOD[:-1]}2\n", 2, "AU26 is '2', expected a whole number"),
    "path leaving the root": (f"{HEADER}\n../{GOOD}\n", 2, "must stay inside"),
    "absolute path": (f"{HEADER}\n/{GOOD}\n", 2, "is an absolute path"),
    "no frame number": (f"{HEADER}\n{GOOD.replace('00001', 'first')}\n", 2, "no frame number"),
    "no video": (f"{HEADER}\n{GOOD.replace('video/', '')}\n", 2, "no video folder"),
    "header missing": (f"{GOOD}\n{GOOD}\n", 1, "an image instead of the header line"),
    "no rows": (f"{HEADER}\n\n", 1, "no rows"),
    "nothing at all": ("", 1, "no rows"),
    "not text": (HEADER.encode() + b"\nvid\xe9o/00001.jpg\n", 2, "not UTF-8"),
    "NUL byte": (f"{HEADER}\n{GOOD}\n{GOOD[:-1]}\0\n", 3, "holds a NUL byte"),
    "UTF-16": (f"{HEADER}\n{GOOD}\n".encode("utf-16"), 1, "UTF-16 text"),
    "carriage return inside a line": (f"{HEADER}\n{GOOD}\r{GOOD}\n".encode(), 2, "a carriage return inside"),
    "quoted name": (f'{HEADER}\n"video/00001.jpg"{GOOD[15:]}\n', 2, "holds a quotation mark"),
    "stray quotation mark": (f'{HEADER}\n{GOOD}\nvideo/00001.jpg"{GOOD[15:]}\n', 3, "holds a quotation mark"),
    "digits of another script": (f"{HEADER}\n{GOOD[:-1]}\u0661\n", 2, "AU26 is '\u0661', expected"),
    "another separator": (f"{HEADER}\n{GOOD.replace(',', ';')}\n", 2, "1 values, expected 16"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_by_line_and_reason(write: Write, kind: str) -> None:
    content, line, reason = BROKEN[kind]
    path = write(content)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert reason in str(caught.value)


def test_all_malformed_lines_are_collected_and_twenty_shown(write: Write) -> None:
    rows = [HEADER] + [GOOD.replace("0.5", "7") if line % 2 else f"x{GOOD[5:]},9" for line in range(30)]
    with pytest.raises(AnnotationError) as caught:
        read_annotations(write("\n".join(rows)))
    assert str(caught.value).count("list.txt:") == 20
    assert "30 malformed lines" in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"gone\.txt; data\.root"):
        read_annotations(tmp_path / "gone.txt")


def test_test_lists_keep_order_and_duplicates(write: Write) -> None:
    expected = ["v/00002.jpg", "v/00001.jpg", "v/00002.jpg"]
    assert read_test_list(write(f"{HEADER}\n" + "\n".join(expected))) == expected
    commas = "".join(f"{name},,,,\r\n" for name in expected)
    assert read_test_list(write(f"{HEADER}\r\n{commas}\r\n")) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{HEADER}\nv/00001.jpg,0.1,,,\n", ":2: 2 values, expected 1"),
        (f"{HEADER}\nv/../../00001.jpg\n", ":2: image name"),
        ("v/00001.jpg\nv/00002.jpg\n", ":1: an image instead of the header"),
        (f"{HEADER}\n", ":1: no rows"),
    ],
)
def test_broken_test_lists_are_named(write: Write, content: str, reason: str) -> None:
    with pytest.raises(AnnotationError, match=reason):
        read_test_list(write(content))


@pytest.mark.timeout(20)
def test_a_named_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    for read in (read_annotations, read_test_list):
        with pytest.raises(AnnotationError, match=r"list\.txt: not a regular file but a named pipe"):
            read(tmp_path / "list.txt")


def test_all_malformed_lines_are_collected_and_all_other_rows_read(write: Write) -> None:
    malformed = [GOOD.replace("0.5", "7"), f"x{GOOD[5:]},9", "", "frame.jpg,1", GOOD.replace(",3,", ",9,")]
    faults: list[Fault] = []
    path = write("\n".join([HEADER, *malformed, GOOD]))
    read = read_annotations(path, faults)
    assert read.name == ["video/00001.jpg"]
    assert read.report.rows == 1
    assert [(fault.file, fault.line) for fault in faults] == [(str(path), line) for line in (2, 3, 5, 6)]
    assert faults[3].reason == "expression is '9', expected a whole number from 0 to 7, or -1 for missing"
    faults.clear()
    assert read_test_list(write(f"{HEADER}\nv/1.jpg\n../2.jpg\nv/3.jpg\n"), faults) == ["v/1.jpg", "v/3.jpg"]
    assert [fault.line for fault in faults] == [3]
