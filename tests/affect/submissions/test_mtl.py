from pathlib import Path

import numpy as np
import pytest

from affect.submissions.lines import SubmissionError
from affect.submissions.mtl import HEADER, validate_mtl_submission, write_mtl_submission

NAMES = ["v1/00001.jpg", "v1/00002.jpg", "v2/00001.jpg", "v1/00001.jpg"]


def predictions() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "valence_arousal": random.uniform(-1.2, 1.2, (4, 2)),
        "expression": random.dirichlet(np.ones(8), 4),
        "action_units": (random.random((4, 12)) < 0.5).astype(np.float32),
    }


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    write_mtl_submission(tmp_path / "predictions.txt", NAMES, **predictions())
    return tmp_path / "predictions.txt"


def test_the_file_has_the_official_form(submission: Path) -> None:
    lines = submission.read_text().split("\n")
    assert lines[0] == HEADER == "image,valence,arousal,expression,aus"
    assert lines[-1] == ""
    assert [line.split(",")[0] for line in lines[1:-1]] == NAMES
    expected = predictions()
    for row, line in enumerate(lines[1:-1]):
        values = line.split(",")[1:]
        np.testing.assert_allclose(
            [float(value) for value in values[:2]], expected["valence_arousal"][row].clip(-1, 1), atol=5e-5
        )
        assert int(values[2]) == expected["expression"][row].argmax()
        assert [int(value) for value in values[3:]] == expected["action_units"][row].tolist()


def test_values_beyond_the_range_are_clipped(tmp_path: Path) -> None:
    outside = np.array([[1.2, -1.3], [1.0001, -1], [-7, 7], [0, 1]])
    write_mtl_submission(tmp_path / "p.txt", NAMES, **{**predictions(), "valence_arousal": outside})
    rows = [line.split(",")[1:3] for line in (tmp_path / "p.txt").read_text().splitlines()[1:]]
    assert np.array(rows, float).tolist() == [[1, -1], [1, -1], [-1, 1], [0, 1]]


BROKEN = {
    "header": (lambda text: text.replace("aus", "AU"), ":1: the header must be"),
    "no header": (lambda text: text.split("\n", 1)[1], ":1: the header must be"),
    "order": (
        lambda text: text.replace("v1/00002.jpg", "v1/00003.jpg"),
        ":3: expected image 'v1/00002.jpg', as in the test list",
    ),
    "a row too few": (lambda text: text.rsplit("\n", 2)[0] + "\n", ":4: 3 rows, but the test list has 4"),
    "a row too many": (lambda text: text + "x\n", ":6: 5 rows, but the test list has 4"),
    "cut short": (lambda text: text[:-1], ":5: the last line has no line end"),
    "carriage returns": (lambda text: text.replace("\n", "\r\n"), ":2: spaces or a carriage return"),
    "values missing": (
        lambda text: text.replace("v2/00001.jpg,", "v2/00001.jpg;"),
        ":4: expected 16 fields, got 15",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_mistakes_are_reported_with_line_and_reason(submission: Path, kind: str) -> None:
    change, message = BROKEN[kind]
    submission.write_bytes(change(submission.read_text()).encode())
    with pytest.raises(SubmissionError) as caught:
        validate_mtl_submission(submission, NAMES)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("place", "text", "reason"),
    [
        (1, "1.01", "valence must be a number from -1 to 1"),
        (2, "nan", "arousal must be a number"),
        (2, "", "arousal must be a number"),
        (2, "0.1_1", "arousal must be a number"),
        (3, "8", "expression must be one of"),
        (3, "2.0", "expression must be one of"),
        (4, "-1", "AU1 must be 0 or 1"),
        (15, "0.7", "AU26 must be 0 or 1"),
    ],
)
def test_invalid_values_are_reported(submission: Path, place: int, text: str, reason: str) -> None:
    lines = submission.read_text().split("\n")
    fields = lines[3].split(",")
    fields[place] = text
    lines[3] = ",".join(fields)
    submission.write_text("\n".join(lines))
    with pytest.raises(SubmissionError, match=f":4: {reason}"):
        validate_mtl_submission(submission, NAMES)


@pytest.mark.parametrize("task", ["valence_arousal", "expression", "action_units"])
def test_invalid_predictions_are_refused(tmp_path: Path, task: str) -> None:
    short = predictions()
    short[task] = short[task][1:]
    with pytest.raises(SubmissionError, match=f"{task}: shape"):
        write_mtl_submission(tmp_path / "p.txt", NAMES, **short)
    damaged = predictions()
    damaged[task][1, 0] = np.nan
    with pytest.raises(SubmissionError, match=f"{task}: NaN or infinity, first for {NAMES[1]}"):
        write_mtl_submission(tmp_path / "p.txt", NAMES, **damaged)
    undecided = predictions()
    undecided["action_units"] *= 0.7
    with pytest.raises(SubmissionError, match="values other than 0 and 1; apply the thresholds first"):
        write_mtl_submission(tmp_path / "p.txt", NAMES, **undecided)
    assert not list(tmp_path.iterdir())
