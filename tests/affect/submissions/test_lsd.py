import os

import numpy as np
import pytest

from affect.errors import MissingFileError
from affect.submissions.lines import SubmissionError
from affect.submissions.lsd import validate_lsd_submission, write_lsd_submission

NAMES = [f"{number}.jpg" for number in (0, 1, 10, 11, 2)]


@pytest.fixture
def scores() -> np.ndarray:
    return np.eye(6)[[3, 0, 5, 1, 3]] - 7


def test_the_file_has_the_largest_score_of_each_image_in_list_order(tmp_path, scores):
    path = tmp_path / "submission.txt"
    write_lsd_submission(path, NAMES, scores)
    assert path.read_bytes() == b"image,expression\n0.jpg,3\n1.jpg,0\n10.jpg,5\n11.jpg,1\n2.jpg,3\n"
    validate_lsd_submission(path, NAMES)


def test_invalid_scores_are_refused(tmp_path, scores):
    path = tmp_path / "submission.txt"
    with pytest.raises(SubmissionError, match=r"shape \(4, 6\), expected \(5, 6\)"):
        write_lsd_submission(path, NAMES, scores[:4])
    with pytest.raises(SubmissionError, match=r"shape \(5, 8\), expected \(5, 6\)"):
        write_lsd_submission(path, NAMES, np.zeros((5, 8)))
    scores[2, 4] = np.nan
    with pytest.raises(SubmissionError, match=r"NaN or infinity, first for 10.jpg"):
        write_lsd_submission(path, NAMES, scores)
    assert not path.exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("image,expression\n", "", r"submission.txt:1: the header must be 'image,expression', not '0.jpg,3'"),
        ("image,", "Image,", r":1: the header"),
        ("1.jpg,0\n", "", r":5: 4 rows, but the test list has 5\n"),
        ("1.jpg,0\n", "1.jpg,0\n1.jpg,0\n", r":7: 6 rows, but the test list has 5"),
        ("\n0.jpg,3\n1.jpg,0", "\n1.jpg,0\n0.jpg,3", r":2: expected image '0.jpg', as .*, got '1.jpg'"),
        ("10.jpg,5", "10.jpg,6", r":4: the label must be one of 0, 1, 2, 3, 4, 5, not '6'"),
        ("10.jpg,5", "10.jpg,-1", r":4: the label must be"),
        ("10.jpg,5", "10.jpg,Fear", r":4: the label must be .*'Fear'"),
        ("10.jpg,5", "10.jpg,5.0", r":4: the label must be .*'5.0'"),
        ("10.jpg,5", "10.jpg,5,", r":4: expected 2 fields, got 3: '10.jpg,5,'"),
        ("10.jpg,5", "10.jpg", r":4: expected 2 fields, got 1: '10.jpg'"),
        ("10.jpg,5", "", r":4: expected 2 fields, got 1"),
        ("10.jpg,5", "10.jpg,5\r", r":4: spaces or a carriage return around '10.jpg,5'"),
        ("2.jpg,3\n", "2.jpg,3", r":6: the last line has no line end"),
    ],
)
def test_mistakes_are_reported_with_their_line(tmp_path, scores, before, after, message):
    path = tmp_path / "submission.txt"
    write_lsd_submission(path, NAMES, scores)
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1), newline="")
    with pytest.raises(SubmissionError, match=message):
        validate_lsd_submission(path, NAMES)


def test_missing_and_binary_files_are_reported(tmp_path):
    with pytest.raises(MissingFileError, match=r"no submission file at .*absent.txt"):
        validate_lsd_submission(tmp_path / "absent.txt", NAMES)
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(SubmissionError, match="the header must be"):
        validate_lsd_submission(tmp_path / "empty.txt", NAMES)
    (tmp_path / "binary.txt").write_bytes(b"image\n\xff")
    with pytest.raises(SubmissionError, match=r"binary\.txt:2: not UTF-8"):
        validate_lsd_submission(tmp_path / "binary.txt", NAMES)


@pytest.mark.timeout(20)
def test_pipes_and_nul_bytes_are_refused(tmp_path):
    path = tmp_path / "submission.txt"
    os.mkfifo(path)
    with pytest.raises(SubmissionError, match=r"submission\.txt: not a regular file but a named pipe"):
        validate_lsd_submission(path, NAMES)
    path.unlink()
    path.write_bytes(b"image,expression\n0.jpg,\0\n")
    with pytest.raises(SubmissionError, match=r"submission\.txt:2: holds a NUL byte"):
        validate_lsd_submission(path, NAMES)
