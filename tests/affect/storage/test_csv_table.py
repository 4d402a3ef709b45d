from pathlib import Path

import pytest

from affect.errors import InvalidFileError, UserError
from affect.storage.csv_table import read_csv_text
from affect.storage.text_file import Fault


class AnnotationError(UserError):
    pass


def write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    return path


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    text = read_csv_text(write(tmp_path, "a, b\r\n\r\n1,2\r\n,\r\n  \r\n3, 4"))
    assert text.columns == ["a", "b"]
    assert text.rows == ["1,2", "3, 4"]
    assert text.lines.tolist() == [3, 6]


def test_a_file_without_header_has_the_default_columns(tmp_path: Path) -> None:
    text = read_csv_text(write(tmp_path, "1,2\n3,4\n"), first_column="a", default_columns=["a", "b"])
    assert (text.columns, text.rows, text.lines.tolist()) == (["a", "b"], ["1,2", "3,4"], [1, 2])


@pytest.mark.parametrize("start", ["\n", "\r\n\r\n", " \n,\n"])
def test_blank_lines_before_the_header_are_skipped(tmp_path: Path, start: str) -> None:
    text = read_csv_text(write(tmp_path, start + "a,b\n1,2\n"), first_column="a", default_columns=["x", "y"])
    assert (text.columns, text.rows, text.lines.tolist()) == (["a", "b"], ["1,2"], [start.count("\n") + 2])


def test_a_header_in_another_case_is_not_taken_for_data(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"a\.csv:1: the header must spell 'path' exactly"):
        read_csv_text(write(tmp_path, "PATH,B\n1,2\n"), first_column="path", default_columns=["path", "b"])


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_refused(tmp_path: Path, separator: str) -> None:
    table = f"path{separator}b\n1{separator}2\n"
    with pytest.raises(InvalidFileError, match=r"a\.csv:1: the fields are separated by .*; save .* with commas"):
        read_csv_text(write(tmp_path, table), first_column="path", default_columns=["path", "b"])


@pytest.mark.parametrize(
    "options",
    [
        {"first_column": "a", "default_columns": ["x", "y"]},
        {"first_column": "b", "default_columns": ["x", "y"]},
        {"first_column": "z"},  # what no header names makes no difference without columns to stand in
        {"default_columns": ["x", "y"]},
    ],
)
def test_a_header_is_used_even_where_default_columns_are_given(tmp_path: Path, options: dict) -> None:
    text = read_csv_text(write(tmp_path, "a,b\n1,2\n"), **options)
    assert (text.columns, text.rows, text.lines.tolist()) == (["a", "b"], ["1,2"], [2])


def test_errors_have_the_requested_class(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n\xff,2\n")
    with pytest.raises(AnnotationError, match=r"a\.csv:2: not UTF-8"):
        read_csv_text(tmp_path / "a.csv", AnnotationError)


# Each of these is one line, or a pair of lines, that a CSV reader with quoting would read in another way.
QUOTED = [
    ['"1",2'], ['1,"2"'], ['1,"2'], ['"1,2'], ['1,2"'], ['1,""'], ['"'], ['1,2""'], ["1,2", '"'],
    ['1,"2', '3",4'], ['1,"a', 'b"'], ['"1', '2",3'], ['1,2"', '"3,4'], ['1,"2""', '3,4"'],
]  # fmt: skip


@pytest.mark.parametrize("rows", QUOTED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("position", ["start", "middle", "end"])
def test_every_line_with_a_quotation_mark_is_listed(tmp_path: Path, rows: list[str], end: str, position: str) -> None:
    lines = ["a,b", *["5,6"] * (position != "start"), "", *rows, *["7,8"] * (position != "end")]
    path = write(tmp_path, end.join(lines))
    expected = [number for number, line in enumerate(lines, 1) if '"' in line]
    with pytest.raises(InvalidFileError) as caught:
        read_csv_text(path)
    message = str(caught.value).splitlines()[1:]
    assert [line.split(": ")[0] for line in message] == [f"{path}:{number}" for number in expected]
    assert all("quotation mark" in line for line in message)


@pytest.mark.parametrize("header", ['"a",b', 'a,"b', 'a,b"'])
def test_a_quoted_header_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(InvalidFileError, match=r"a\.csv:1: holds a quotation mark"):
        read_csv_text(write(tmp_path, f"{header}\n1,2\n"))


@pytest.mark.parametrize("row", ["1", "1,2,3", "1,2,", ",1,2"])
def test_rows_with_another_number_of_fields_are_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(InvalidFileError, match=rf"a\.csv:3: {row.count(',') + 1} fields, expected 2"):
        read_csv_text(write(tmp_path, f"a,b\n1,2\n{row}\n1,2\n"))


def test_rows_with_one_field_too_many_are_not_read_with_an_index_column(tmp_path: Path) -> None:
    # pandas takes the first column for an index where each row has one value more than the header.
    with pytest.raises(InvalidFileError, match="2 malformed lines"):
        read_csv_text(write(tmp_path, "a,b\n1,2,3\n4,5,6\n"))


@pytest.mark.parametrize("header", ["a,a", "a,b, a", "b,b,a,a"])
def test_repeated_column_names_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(InvalidFileError, match=r"a\.csv:1: the header names '.' ?.*more than once"):
        read_csv_text(write(tmp_path, f"{header}\n"))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read_csv_text(write(tmp_path, "")).rows == []


def test_malformed_lines_are_collected_and_left_out(tmp_path: Path) -> None:
    faults: list[Fault] = []
    path = write(tmp_path, 'a,b\n1,2\n"3,4\n5\n6,7\n8,9,10\n')
    text = read_csv_text(path, faults=faults)
    assert (text.rows, text.lines.tolist()) == (["1,2", "6,7"], [2, 5])
    assert [(fault.file, fault.line) for fault in faults] == [(str(path), line) for line in (3, 4, 6)]
    assert [fault.reason[:8] for fault in faults] == ["holds a ", "1 fields", "3 fields"]
