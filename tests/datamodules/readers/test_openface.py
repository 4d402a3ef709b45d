from pathlib import Path

import numpy as np
import pytest

from datamodules.readers.annotation_errors import AnnotationError
from datamodules.readers.openface import read_frame_tables

HEADER = "frame, face_id, timestamp, confidence, success, AU01_r, AU45_r, AU01_c"
NAMES = ["a/00002.jpg", "b/00001.jpg", "a/00001.jpg", "a/00003.jpg", "a/00004.jpg", "a/00009.jpg"]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    rows = [
        "1, 0, 0.0, 0.98, 1, 0.5, 0.0, 1.0",
        "2, 0, 0.03, 0.97, 1, 1.5, 0.2, 0.0",
        "3, 0, 0.06, 0.40, 1, 9.0, 9.0, 1.0",  # too unsure
        "4, 0, 0.09, 0.95, 0, 9.0, 9.0, 1.0",  # no face
    ]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def test_rows_are_picked_by_video_and_frame(tables: Path) -> None:
    read = read_frame_tables(tables, NAMES, r"AU\d+_[rc]")
    assert read.columns == ["AU01_r", "AU45_r", "AU01_c"]
    expected = np.full((6, 3), np.nan)
    expected[0] = [1.5, 0.2, 0]
    expected[2] = [0.5, 0, 1]
    np.testing.assert_allclose(read.features, expected, rtol=1e-6)
    assert read.features.dtype == np.float32
    assert read.absent_videos == ["b"]
    assert read.failing == 4


def test_columns_and_confidence_can_be_chosen(tables: Path) -> None:
    read = read_frame_tables(tables, NAMES, r"AU\d+_c", min_confidence=0.3)
    assert read.columns == ["AU01_c"]
    assert read.failing == 3


def test_tables_without_confidence_and_with_gaps_are_read(tables: Path) -> None:
    (tables / "b.csv").write_text("frame,AU01_r,AU45_r,AU01_c\n1,2,3,inf\n")
    assert read_frame_tables(tables, NAMES, r"AU\d+_[rc]").failing == 4
    (tables / "b.csv").write_text("frame,AU01_r,AU45_r,AU01_c\n1,2,3,1\n")
    assert read_frame_tables(tables, NAMES, r"AU\d+_[rc]").failing == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("time,AU01_r\n1,2\n", "needs a column 'frame'"),
        ("frame,pose\n1,2\n", "features that match"),
        ("frame,AU01_r\n1,2\n1,3\n", "frame 1 occurs twice"),
        ("frame,AU01_r\n1,2\ntwo,3\n", ":3: frame two is not a whole number"),
        ("frame,AU01_r\n1.5,2\n", ":2: frame 1.5 is not a whole number"),
        ("frame,AU01_r\n1,2\n", "differ from the others'"),
        ("frame,AU01_r,AU45_r,AU01_c\n1,2,3\n", ":2: 3 fields, expected 4"),
        ("frame,AU01_r,frame\n1,2,3\n", ":1: the header names 'frame' more than once"),
        ('frame,AU01_r\n1,"2\n', ":2: holds a quotation mark"),
        ("frame,AU01_r\n\n1e300,2\n", r":3: frame 1e\+300 is not a whole number"),
        ("frame,AU01_r\n1,2\n-1,2\n", ":3: frame -1 is not a whole number"),
        ("frame,AU01_r\n1,\0\n", ":2: holds a NUL byte"),
        ("frame,AU01_r,,\n", "holds no row"),
        ("", "needs a column 'frame'"),
    ],
)
def test_unusable_tables_are_named(tables: Path, content: str, reason: str) -> None:
    (tables / "b.csv").write_text(content)
    with pytest.raises(AnnotationError, match=rf"b\.csv.*{reason}"):
        read_frame_tables(tables, NAMES, r"AU\d+_[rc]")


def test_a_cell_that_is_no_number_fails_its_own_frame_alone(tables: Path) -> None:
    text = (tables / "a.csv").read_text()
    (tables / "a.csv").write_text(text.replace("0.98, 1", "n/a, 1") + "9, 0, 0.3, 0.98, yes, 1, 2, 3\n")
    read = read_frame_tables(tables, NAMES, r"AU\d+_[rc]")
    np.testing.assert_allclose(read.features[0], [1.5, 0.2, 0], rtol=1e-6)
    assert np.isnan(read.features[[2, 5]]).all()


def test_missing_folders_and_tables_are_named(tables: Path) -> None:
    with pytest.raises(AnnotationError, match="no folder"):
        read_frame_tables(tables / "gone", NAMES, ".*_r")
    with pytest.raises(AnnotationError, match=r"no table for any video, for example c\.csv"):
        read_frame_tables(tables, ["c/00001.jpg"], ".*_r")
