import logging
from pathlib import Path

import pytest
from pytorch_lightning.utilities import rank_zero_only
from rich.table import Table

from experiments.runtime.reports.messages import RunLog, show_messages

LOG = logging.getLogger("experiments.mtl.train")


def log_all() -> None:
    table = Table("metric")
    table.add_row("P_MTL")
    LOG.info("classes ['a', 'b'] in [bold]%s", "text")
    LOG.info(table)
    LOG.warning("one image is missing")


def test_information_goes_to_standard_output_and_warnings_to_standard_error(
    capsys: pytest.CaptureFixture,
) -> None:
    show_messages()
    log_all()
    printed = capsys.readouterr()
    assert printed.out.startswith("classes ['a', 'b'] in [bold]text\n")
    assert "P_MTL" in printed.out
    assert printed.err == "one image is missing\n"


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture) -> None:
    show_messages(quiet=True)
    log_all()
    assert capsys.readouterr() == ("", "one image is missing\n")
    show_messages()


def test_other_ranks_print_nothing(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    log_all()
    assert capsys.readouterr() == ("", "")


def test_a_long_line_is_not_wrapped(capsys: pytest.CaptureFixture) -> None:
    LOG.info("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_the_run_log_keeps_everything_until_it_is_closed(tmp_path: Path) -> None:
    show_messages(quiet=True)
    log = RunLog(tmp_path)
    log_all()
    log.close()
    LOG.info("after the run")
    text = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "INFO classes ['a', 'b'] in [bold]text\n" in text
    assert "WARNING one image is missing\n" in text
    assert "P_MTL" in text
    assert "after the run" not in text
    show_messages()


def test_another_runs_log_takes_the_place_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    RunLog(tmp_path / "first")
    LOG.info("one")
    second = RunLog(tmp_path / "second")
    LOG.info("two")
    second.close()
    texts = [(tmp_path / name / "run.log").read_text(encoding="utf-8") for name in ("first", "second")]
    assert ["one" in text for text in texts] == [True, False]
    assert ["two" in text for text in texts] == [False, True]


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = RunLog(tmp_path)
    log.stream = open("/dev/full", "w", encoding="utf-8")  # noqa: PTH123, SIM115
    LOG.info("first")
    LOG.info("second")
    log.close()
    printed = capsys.readouterr()
    assert printed.out == "first\nsecond\n"
    assert printed.err.count("run.log cannot be written: [Errno 28] No space left on device") == 1
