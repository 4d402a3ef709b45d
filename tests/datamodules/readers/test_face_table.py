from pathlib import Path

import numpy as np
import pytest

from datamodules.readers.annotation_errors import AnnotationError
from datamodules.readers.face_table import WHOLE_IMAGE, TableFormat, read_face_table

KEYS = ("path", "expression", "valence", "arousal", "left", "top", "width", "height", "split", "person")
COLUMNS = {key: key for key in KEYS}


def read(tmp_path: Path, text: str, missing=(), images: str = ".", **columns: str | None):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return read_face_table(path, TableFormat(COLUMNS | columns, images, missing))


def test_a_table_with_all_columns(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "\ufeffpath,expression,valence,arousal,left,top,width,height,split,person,other\r\n"
        "a/1.jpg,happy,0.5,,1.4,2,30,40,Training,anna,x\r\n"
        "a\\2.jpg,,-1,1,,,,,valid,bob,y\r\n",
    )
    assert table["path"].tolist() == ["a/1.jpg", "a/2.jpg"]
    assert table["class"].tolist() == ["happy", ""]
    assert table["split"].tolist() == ["train", "val"]
    assert table["person"].tolist() == ["anna", "bob"]
    np.testing.assert_array_equal(table[["valence", "arousal"]], [[0.5, np.nan], [-1, 1]])
    assert table[["left", "top", "width", "height"]].to_numpy().tolist() == [[1, 2, 30, 40], list(WHOLE_IMAGE)]


def test_other_names_another_folder_and_marks_of_missing_labels(tmp_path: Path) -> None:
    table = read(
        tmp_path, "file,emotion,valence\n1.jpg,-1,0\n2.jpg,3.0,-2.0\n3.jpg,10,-2\n",
        ["-1", "-2"], "images", path="file", expression="emotion",
    )  # fmt: skip
    assert table["path"].tolist() == ["images/1.jpg", "images/2.jpg", "images/3.jpg"]
    assert table["class"].tolist() == ["", "3", "10"]
    np.testing.assert_array_equal(table["valence"], [0, np.nan, np.nan])
    assert (table[["width", "height"]] == 0).all(axis=None)


def test_rows_without_a_label_are_left_out_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 rows have no label and are left out, such as 2.jpg"):
        table = read(tmp_path, "path,expression\n1.jpg,a\n2.jpg,\n")
    assert table["path"].tolist() == ["1.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;expression\n1.jpg;a\n", "separated by ';'"),
        ("image,expression\n1.jpg,a\n", r"no column path \(data.columns.path\); it has image, expression"),
        ("path,label\n1.jpg,a\n", "no label: set data.columns.expression"),
        ("path,expression,left,top\n1.jpg,a,1,1\n", "set data.columns.width, data.columns.height"),
        ("path,expression\n", "holds no row"),
        ("path,expression\n/etc/x.jpg,a\n", r"labels.csv:2: path is '/etc/x.jpg': the path leaves"),
        ("path,expression\nb/../../x.jpg,a\n", r":2: path is .*leaves"),
        ("path,expression\n,a\n", ":2: path is '': no image"),
        ("path,valence\n1.jpg,1.5\n", r":2: valence is '1.5': not in \[-1, 1\]"),
        ("path,valence\n1.jpg,0\n2.jpg,high\n", ":3: valence is 'high': not a number"),
        ("path,valence\n1.jpg,inf\n", r":2: valence is 'inf': not in"),
        ("path,expression,left,top,width,height\n1.jpg,a,1,1,,5\n", ":2: width is '': half a face box"),
        ("path,expression,left,top,width,height\n1.jpg,a,0.1,0.1,0.5,0.5\n", "less than 2 pixels"),
        ("path,expression,left,top,width,height\n1.jpg,a,x,1,5,5\n", "left is 'x': not a number of pixels"),
        ("path,expression,split\n1.jpg,a,dev\n", ":2: split is 'dev': not one of train"),
        ("path,expression,person\n1.jpg,a,\n", ":2: person is '': no person"),
        ("path,expression\n1.jpg,0.5\n2.jpg,1\n", "names or whole numbers, not 0.5"),
        ("path,expression\n1.jpg,-1\n2.jpg,1\n", r"data.missing=\[-1\]"),
        ('path,expression\n"1.jpg",a\n', "quotation mark"),
    ],
)
def test_what_is_malformed_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, text)


def test_a_column_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"no column v \(data.columns.valence\)"):
        read(tmp_path, "path,expression\n1.jpg,a\n", valence="v")
    assert read(tmp_path, "path,expression,valence\n1.jpg,a,9\n", valence=None)["valence"].isna().all()
