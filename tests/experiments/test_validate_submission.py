from pathlib import Path

import pytest

from affect.submissions.lines import SubmissionError
from experiments.runtime.config.options import ConfigError
from experiments.validate_submission import ValidationConfig, validate

LIST = "image,expression\n0.jpg\n1.jpg\n"


@pytest.fixture
def test_list(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(LIST)
    return path


def test_a_valid_file_is_accepted(tmp_path: Path, test_list: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submission = tmp_path / "submission.txt"
    submission.write_text("image,expression\n0.jpg,3\n1.jpg,0\n")
    validate(ValidationConfig("lsd", str(submission), str(test_list)))
    assert "2 lines, valid" in capsys.readouterr().out


def test_a_wrong_line_is_named(tmp_path: Path, test_list: Path) -> None:
    submission = tmp_path / "submission.txt"
    submission.write_text("image,expression\n0.jpg,3\n1.jpg,6\n")
    with pytest.raises(SubmissionError, match=":3"):
        validate(ValidationConfig("lsd", str(submission), str(test_list)))


def test_an_unknown_challenge_is_refused(test_list: Path) -> None:
    with pytest.raises(ConfigError, match="mtl, lsd"):
        validate(ValidationConfig("abaw", "x", str(test_list)))
