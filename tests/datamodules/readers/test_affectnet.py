import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.storage.text_file import Fault
from datamodules.readers.affectnet import annotation_sources, find_layout, read_annotations, read_split
from datamodules.readers.annotation_errors import AnnotationError

# AffectNet's codes in the order of its paper, and the backbone's order: written out here once more.
CODES = ["Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
ORDER = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]


def reference(root: Path, file_name: str) -> list[tuple]:
    """Read a csv file line by line with the rules written out: path, box, expression, valence, arousal."""
    rows = []
    with (root / file_name).open() as file:
        for row in csv.DictReader(file):
            box = tuple(int(row[f"face_{key}"]) for key in ("x", "y", "width", "height"))
            code = int(row["expression"])
            if code > 7 or box[2] < 0:
                continue
            values = [float(row[key]) for key in ("valence", "arousal")]
            values = [np.nan if value == -2 else value for value in values]
            name = "Manually_Annotated_Images/" + row["subDirectory_filePath"]
            rows.append((name, *box, ORDER.index(CODES[code]), *values))
    return rows


def assert_rows_equal(table: pd.DataFrame, expected: list[tuple]) -> None:
    columns = ["path", "left", "top", "width", "height", "expression", "valence", "arousal"]
    found = table[columns].astype(object).values.tolist()
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row[0] == wanted[0]
        np.testing.assert_allclose(np.array(row[1:], float), np.array(wanted[1:], float), rtol=1e-6)


def test_the_csv_layout_is_read_and_filtered(affectnet_csv: Path):
    table = read_annotations(affectnet_csv, find_layout(affectnet_csv))
    assert table["split"].value_counts().to_dict() == {"train": 40, "val": 16}
    for split, name in (("train", "training.csv"), ("val", "validation.csv")):
        part = table[table["split"] == split]
        assert_rows_equal(part, reference(affectnet_csv, name))
        assert part["valence"].isna().sum() == 1
        assert part["arousal"].isna().sum() == 1
        assert part["expression"].value_counts().to_dict() == dict.fromkeys(range(8), 5 if split == "train" else 2)
    assert table["valence"].dtype == np.float32
    assert all((affectnet_csv / path).is_file() for path in table["path"])


def test_both_layouts_hold_the_same_labels(affectnet_csv: Path, affectnet_npy: Path):
    assert find_layout(affectnet_csv) == "csv"
    assert find_layout(affectnet_npy) == "npy"
    first, second = read_annotations(affectnet_csv, "csv"), read_annotations(affectnet_npy, "npy")
    columns = ["split", "expression", "valence", "arousal"]
    pd.testing.assert_frame_equal(first[columns], second[columns])
    assert set(first.columns) == set(second.columns)
    assert not second[["left", "top", "width", "height"]].to_numpy().any()
    assert all((affectnet_npy / path).is_file() for path in second["path"])
    assert [Path(path).name for path in first["path"]] == [Path(path).name for path in second["path"]]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_headerless_files_crlf_byte_order_marks_and_blank_lines(affectnet_csv: Path, newline: str, mark: str):
    expected = read_annotations(affectnet_csv, "csv")
    for name, start in (("training.csv", 0), ("validation.csv", 1)):
        lines = (affectnet_csv / name).read_text().splitlines()[start:]
        lines.insert(4, "")
        (affectnet_csv / name).write_text(mark + newline.join([*lines, "", ""]), newline="")
    pd.testing.assert_frame_equal(read_annotations(affectnet_csv, "csv"), expected)


def test_columns_may_stand_in_another_order_and_backslashes_for_slashes(affectnet_csv: Path):
    expected = read_annotations(affectnet_csv, "csv")
    table = pd.read_csv(affectnet_csv / "training.csv", dtype=str)
    table["subDirectory_filePath"] = table["subDirectory_filePath"].str.replace("/", "\\")
    table[table.columns[::-1]].to_csv(affectnet_csv / "training.csv", index=False)
    pd.testing.assert_frame_equal(read_annotations(affectnet_csv, "csv"), expected)


def test_rows_without_a_box_are_left_out_and_corners_may_be_outside(affectnet_csv: Path):
    expected = read_annotations(affectnet_csv, "csv")
    rows = [
        "0/0.jpg,NULL,NULL,NULL,NULL,NULL,6,-0.5,0.5",
        "0/0.jpg,,,,,,1,0.5,0.5",
        "0/0.jpg,-1,-1,-1,-1,1;2,1,0,0",
    ]
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("\n".join([*rows, "0/1.jpg,-3,4,24,24,1;2,1,0.5,0.5"]) + "\n")
    found = read_annotations(affectnet_csv, "csv")
    assert len(found) == len(expected) + 1
    added = found[found["path"].str.endswith("/0/1.jpg")].iloc[0]
    assert (added["left"], added["width"]) == (-3, 24)


GOOD = "0/0.jpg,4,4,24,24,1;2,1,0.5,0.5"
MALFORMED = {
    "code out of range": ("0/0.jpg,4,4,24,24,1;2,11,0.5,0.5", "not a code 0 to 10: expression is '11'"),
    "negative code": ("0/0.jpg,4,4,24,24,1;2,-1,0.5,0.5", "not a code 0 to 10: expression is '-1'"),
    "broken code": ("0/0.jpg,4,4,24,24,1;2,1.5,0.5,0.5", "not a code 0 to 10: expression is '1.5'"),
    "no code": ("0/0.jpg,4,4,24,24,1;2,,0.5,0.5", "not a number: expression is ''"),
    "word for a code": ("0/0.jpg,4,4,24,24,1;2,Happy,0.5,0.5", "not a number: expression is 'Happy'"),
    "valence too large": ("0/0.jpg,4,4,24,24,1;2,1,1.01,0.5", "neither in [-1, 1] nor -2: valence is '1.01'"),
    "arousal too small": ("0/0.jpg,4,4,24,24,1;2,1,0.5,-3", "neither in [-1, 1] nor -2: arousal is '-3'"),
    "valence not a number": ("0/0.jpg,4,4,24,24,1;2,1,nan,0.5", "not a number: valence is 'nan'"),
    "infinite arousal": ("0/0.jpg,4,4,24,24,1;2,1,0.5,inf", "neither in [-1, 1] nor -2: arousal is 'inf'"),
    "box not a number": ("0/0.jpg,left,4,24,24,1;2,1,0.5,0.5", "not a number: face_x is 'left'"),
    "infinite box": ("0/0.jpg,4,4,inf,24,1;2,1,0.5,0.5", "not a number of pixels: face_width is 'inf'"),
    "box beyond any image": (
        "0/0.jpg,4,4,24,9e12,1;2,1,0.5,0.5",
        "not a number of pixels: face_height is '9e12'",
    ),
    "too few values": ("0/0.jpg,4,4", "3 fields, expected 9"),
    "too many values": (
        "0/0.jpg,4,4,24,24,1;2,1,0.5,0.5,0.5",
        "10 fields, expected 9",
    ),
    "quoted path": ('"0/0.jpg",4,4,24,24,1;2,1,0.5,0.5', "holds a quotation mark"),
    "stray quotation mark": ('0/0.jpg,4,4,24,24,"1;2,1,0.5,0.5', "holds a quotation mark"),
    "box as fractions": (
        "0/0.jpg,0.1,0.1,0.8,24,1;2,1,0.5,0.5",
        "less than 2 pixels (face boxes are in pixels",
    ),
    "whole image as fractions": (
        "0/0.jpg,0,0,1,1,1;2,1,0.5,0.5",
        "less than 2 pixels (face boxes are in pixels",
    ),
    "half a box": (
        "0/0.jpg,4,4,NULL,24,1;2,1,0.5,0.5",
        "half a face box: another part is missing: face_x is '4'",
    ),
    "box of negative width": (
        "0/0.jpg,4,4,-24,24,1;2,1,0.5,0.5",
        "half a face box: the other side is positive: face_width is '-24'",
    ),
    "box without height": (
        "0/0.jpg,4,4,24,0,1;2,1,0.5,0.5",
        "half a face box: the other side is positive: face_height is '0'",
    ),
    "control character": ("0/\t0.jpg,4,4,24,24,1;2,1,0.5,0.5", "unprintable character"),
    "no path": (",4,4,24,24,1;2,1,0.5,0.5", "no image: subDirectory_filePath is ''"),
    "path upwards": ("../../x.jpg,4,4,24,24,1;2,1,0.5,0.5", "path leaves the image folder"),
    "absolute path": ("/etc/passwd,4,4,24,24,1;2,1,0.5,0.5", "path leaves the image folder"),
    "backslashes upwards": ("a\\..\\..\\x.jpg,4,4,24,24,1;2,1,0.5,0.5", "path leaves the image folder"),
    "drive letter": ("C:\\x.jpg,4,4,24,24,1;2,1,0.5,0.5", "path leaves the image folder"),
}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("kind", MALFORMED)
def test_each_kind_of_malformed_line_is_named_with_file_and_line(affectnet_csv: Path, kind: str, header: bool):
    line, reason = MALFORMED[kind]
    path = affectnet_csv / "validation.csv"
    first = path.read_text().splitlines()[:1] if header else []
    path.write_text("\n".join([*first, GOOD, "", line, GOOD]))
    with pytest.raises(AnnotationError) as caught:
        read_annotations(affectnet_csv, "csv")
    assert f"{path}:{4 if header else 3}: {reason}" in str(caught.value)


def test_a_malformed_row_is_named_even_where_a_filter_would_drop_it(affectnet_csv: Path):
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("0/0.jpg,-1,-1,-1,-1,1;2,10,7,0\n")
    with pytest.raises(AnnotationError, match=r"training\.csv:46: .*valence is '7'"):
        read_annotations(affectnet_csv, "csv")


def test_many_malformed_lines_are_counted_and_twenty_shown(affectnet_csv: Path):
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("0/0.jpg,4,4,24,24,1;2,99,0,0\n" * 25)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(affectnet_csv, "csv")
    message = str(caught.value).splitlines()
    assert message[0] == "25 malformed lines"
    assert len(message) == 22
    assert message[-1] == "... and 5 more"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no row"),
        (",".join(CODES), "1: 8 fields, expected 9"),
        ("subDirectory_filePath,face_x\n0/0.jpg,3\n", r"missing columns \['face_y', .*'arousal'\]"),
        (f"{GOOD}\n{GOOD},1,2\n", "2: 11 fields, expected 9"),
        (f'{GOOD}\n"{GOOD}\n', "2: holds a quotation mark"),
    ],
)
def test_a_file_that_is_no_such_table_is_named(affectnet_csv: Path, content: str, reason: str):
    (affectnet_csv / "validation.csv").write_text(content)
    with pytest.raises(AnnotationError, match=rf"(?s)validation\.csv.*{reason}"):
        read_annotations(affectnet_csv, "csv")


def test_a_file_in_another_encoding_is_named(affectnet_csv: Path):
    (affectnet_csv / "validation.csv").write_bytes(b"\xe9" + GOOD.encode())
    with pytest.raises(AnnotationError, match=r"validation\.csv:1: not UTF-8 text"):
        read_annotations(affectnet_csv, "csv")


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        ("exp", np.array(11), "'11' is not a code 0 to 10"),
        ("exp", np.array("nan"), "holds the text 'nan'"),
        ("exp", np.array("happy"), "holds the text 'happy'"),
        ("val", np.array("1.5"), r"'1\.5' is neither in \[-1, 1\] nor -2"),
        ("aro", np.array(np.nan), r"'nan' is neither in \[-1, 1\] nor -2"),
        ("aro", np.zeros(3), "an array of shape"),
        ("val", np.array({"a": 1}, dtype=object), "Python objects, which are never read"),
        ("exp", b"not an array", ""),
        ("exp", b"", ""),
        ("exp", None, "no such file"),
        ("val", None, "no such file"),
    ],
)
def test_each_kind_of_malformed_npy_file_is_named(affectnet_npy: Path, suffix: str, content: object, reason: str):
    path = affectnet_npy / "train_set" / "annotations" / f"7_{suffix}.npy"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(AnnotationError, match=rf"1 malformed annotations\n.*7_{suffix}\.npy: .*{reason}"):
        read_annotations(affectnet_npy, "npy")


def test_hidden_files_are_not_data(affectnet_npy: Path):
    expected = read_annotations(affectnet_npy, "npy")
    for split in ("train_set", "val_set"):
        annotations = affectnet_npy / split / "annotations"
        for path in list(annotations.iterdir()):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        (annotations / ".ipynb_checkpoints").mkdir()
        (annotations / ".ipynb_checkpoints" / "1_exp.npy").write_bytes(b"")
    pd.testing.assert_frame_equal(read_annotations(affectnet_npy, "npy"), expected)


def test_identifiers_may_hold_digits_of_other_scripts(affectnet_npy: Path):
    annotations = affectnet_npy / "val_set" / "annotations"
    for kind in ("exp", "val", "aro"):
        np.save(annotations / f"\u00b2_{kind}.npy", 0)
    assert read_annotations(affectnet_npy, "npy")["path"].str.endswith("/\u00b2.jpg").sum() == 1


@pytest.mark.timeout(20)
def test_named_pipes_are_named(affectnet_csv: Path, affectnet_npy: Path):
    for path, layout in (
        (affectnet_csv / "validation.csv", "csv"),
        (affectnet_npy / "val_set" / "annotations" / "50_aro.npy", "npy"),
    ):
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(AnnotationError, match=rf"{path.name}: not a regular file but a named pipe"):
            read_annotations({"csv": affectnet_csv, "npy": affectnet_npy}[layout], layout)


def test_boxes_are_rounded_to_whole_pixels(affectnet_csv: Path):
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("0/box.jpg,12.4,-0.6,23.6,1e2,1;2,1,0.5,0.5\n")
    row = read_annotations(affectnet_csv, "csv").query("path.str.endswith('/box.jpg')").iloc[0]
    assert row[["left", "top", "width", "height"]].tolist() == [12, -1, 24, 100]


def test_a_column_that_is_named_twice_is_refused(affectnet_csv: Path):
    path = affectnet_csv / "training.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]},expression", *(f"{line},7" for line in lines[1:])]))
    with pytest.raises(AnnotationError, match=r"training\.csv:1: the header names 'expression' more than once"):
        read_annotations(affectnet_csv, "csv")


def test_paths_are_compared_after_resolving(affectnet_csv: Path):
    (affectnet_csv / "validation.csv").write_text("0//a.jpg,4,4,24,24,1,1,0,0\n ./0/./a.jpg ,4,4,24,24,1,1,0,0\n")
    found = read_annotations(affectnet_csv, "csv").query("split == 'val'")["path"]
    assert found.tolist() == ["Manually_Annotated_Images/0/a.jpg"] * 2


def test_npy_parts_that_are_missing_are_named(affectnet_npy: Path):
    images = affectnet_npy / "val_set" / "images"
    images.rename(images.with_name("pictures"))
    with pytest.raises(AnnotationError, match="val_set/images is missing"):
        read_annotations(affectnet_npy, "npy")
    for path in (affectnet_npy / "train_set" / "annotations").iterdir():
        path.unlink()
    with pytest.raises(AnnotationError, match=r"train_set/annotations holds no <id>_exp\.npy"):
        read_annotations(affectnet_npy, "npy")


def test_a_folder_that_is_not_affectnet_is_named_with_what_was_looked_for(tmp_path: Path, affectnet_csv: Path):
    with pytest.raises(AnnotationError, match=r"no folder .*nowhere.*data\.root"):
        find_layout(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(AnnotationError, match=r"training\.csv, validation\.csv.*train_set.*it holds nothing"):
        find_layout(tmp_path / "other")
    with pytest.raises(AnnotationError, match="train_set, val_set; it holds Manually_Annotated_Images"):
        find_layout(affectnet_csv, "npy")
    with pytest.raises(AnnotationError, match="auto, csv or npy, not 'tar'"):
        find_layout(affectnet_csv, "tar")
    (affectnet_csv / "validation.csv").unlink()
    with pytest.raises(AnnotationError, match="does not hold AffectNet"):
        find_layout(affectnet_csv)


def test_the_sources_are_the_files_of_the_labels(affectnet_csv: Path, affectnet_npy: Path):
    assert [path.name for path in annotation_sources(affectnet_csv, "csv")] == [
        "training.csv",
        "validation.csv",
    ]
    assert [path.parent.name for path in annotation_sources(affectnet_npy, "npy")] == ["train_set", "val_set"]


def test_all_malformed_lines_are_collected_and_all_other_rows_read(affectnet_csv: Path):
    expected = read_split(affectnet_csv, "csv", "train")
    path = affectnet_csv / "training.csv"
    lines = path.read_text().splitlines()
    malformed = [line for line, _ in MALFORMED.values()]
    path.write_text("\n".join([*lines[:5], *malformed, *lines[5:]]) + "\n")
    faults: list[Fault] = []
    found = read_split(affectnet_csv, "csv", "train", faults)
    pd.testing.assert_frame_equal(found, expected)
    for number, (_, reason) in enumerate(MALFORMED.values(), 6):
        assert any(fault[:2] == (str(path), number) and reason in fault.reason for fault in faults)
    assert {fault.line for fault in faults} == set(range(6, 6 + len(malformed)))


def test_all_malformed_npy_files_are_collected_and_all_other_rows_read(affectnet_npy: Path):
    expected = read_split(affectnet_npy, "npy", "train")
    annotations = affectnet_npy / "train_set" / "annotations"
    (annotations / "7_exp.npy").write_bytes(b"not an array")
    (annotations / "7_val.npy").unlink()
    np.save(annotations / "9_aro.npy", np.array("-3"))
    faults: list[Fault] = []
    found = read_split(affectnet_npy, "npy", "train", faults)
    assert faults == [
        Fault(f"{annotations}/7_exp.npy", 0, "not an npy file: other data"),
        Fault(f"{annotations}/7_val.npy", 0, "no such file"),
        Fault(f"{annotations}/9_aro.npy", 0, "'-3' is neither in [-1, 1] nor -2"),
    ]
    left_out = expected["path"].str.fullmatch(r".*/(7|9)\.jpg")
    pd.testing.assert_frame_equal(found, expected[~left_out].reset_index(drop=True))


def test_rows_that_are_not_usable_are_marked(affectnet_csv: Path):
    rows = read_split(affectnet_csv, "csv", "train")
    assert (len(rows), rows["usable"].sum()) == (44, 40)  # three codes without an expression, one without a box
