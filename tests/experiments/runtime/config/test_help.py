"""What `--help` shows: the values that the command would use, whole keys, and where each value comes from."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import experiments.runtime.config.load
from experiments.runtime.config.load import RunConfig, parse_command_line
from experiments.runtime.config.options import iterate_options, option


@dataclass
class Data:
    root: str = option("data", "folder of images", path=True)
    a_key_that_is_longer_than_half_of_a_narrow_terminal: float = option(0.5, "share of all images", ge=0, le=1)
    size: int = option(224, "side in pixels", ge=1)


@dataclass
class Schema(RunConfig):
    data: Data = field(default_factory=Data)
    published: dict[str, float] = option({}, "values by metric")


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Return the lines of `--help` with further words."""
    folder = tmp_path / "recipes" / "test"
    folder.mkdir(parents=True)
    (folder / "demo.yaml").write_text("data: {size: 96}\npublished: {val/f1: 0.5}\n")
    (folder / "paper.yaml").write_text("data: {size: 112}\n")
    monkeypatch.setattr(experiments.runtime.config.load, "RECIPES", tmp_path / "recipes")

    def run(*words: str, columns: int = 80) -> list[str]:
        monkeypatch.setattr("sys.argv", ["test", *words, "--help"])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as caught:
            parse_command_line(Schema, "test", "demo")
        captured = capsys.readouterr()
        assert caught.value.code == (2 if captured.err else 0)
        return (captured.out + captured.err).splitlines()

    return run


def test_help_shows_the_values_that_the_command_would_use(show) -> None:
    assert "recipe=demo  [used if none is given]" in show()
    assert "data.size=96  [recipe demo]" in show()
    assert "published={val/f1: 0.5}  [recipe demo]" in show()
    assert "trainer.max_epochs=null" in show()
    assert "recipe=paper  [given]" in show("recipe=paper")
    assert "data.size=112  [recipe paper]" in show("recipe=paper")
    assert "data.size=7  [given]" in show("recipe=paper", "data.size=7")
    assert "published={}" in show("recipe=paper")
    assert "no recipe 'papr'" in show("recipe=papr")[0]
    assert "recipes: demo, paper" in show()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_key_is_cut_and_meanings_are_wrapped(show, columns: int) -> None:
    lines = show(columns=columns)
    for key, _, entry in iterate_options(Schema):
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{key}=")]
        stop = next(number for number in range(place, len(lines) + 1) if number == len(lines) or not lines[number])
        text = " ".join(line.strip() for line in lines[place:stop])
        assert entry.metadata["help"] in text
        assert all(len(line) <= columns or " " not in line.strip() for line in lines[place:stop])
    assert "share of all images (between 0 and 1)" in " ".join(line.strip() for line in lines)


def test_output_survives_an_encoding_without_its_characters() -> None:
    code = (
        "import logging\n"
        "from experiments.runtime.reports.messages import replace_unencodable_output, show_messages\n"
        "from experiments.runtime.reports.tables import results_table\n"
        "replace_unencodable_output()\n"
        "show_messages()\n"
        "logging.getLogger('experiments').info('a · b — c † d ≥ e')\n"
        "logging.getLogger('experiments').info(results_table('t', {'a': 1.0}, {'b': 2.0}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a ? b ? c ? d ? e\n")


def test_a_command_replaces_characters_before_its_first_word() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.validate_submission", "challenge=mtl", "submission=ä", "test_list=表"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "?" in done.stderr
