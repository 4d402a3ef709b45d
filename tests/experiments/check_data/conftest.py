"""Checks of small sets, as all tests of the command need them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments.check_data.check
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.check_data.check import CheckConfig, DataConfig, check_set
from experiments.check_data.report import Report

Found = tuple[str, str, str, str]
"""Effect, kind, split, and file with its line."""
Check = Callable[..., set[Found]]


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a small check's time."""
    monkeypatch.setattr(experiments.check_data.check, "_draw", lambda *arguments: [])


@pytest.fixture
def check(tmp_path: Path, no_pictures: None) -> Check:
    """Check a set, and return what the table of problems lists."""

    def run(root: Path, **options: Any) -> set[Found]:
        report = check_into(root, tmp_path / "runs", **options)
        with (tmp_path / "runs/check_data/latest/problems.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(report.problems)
        places = [f"{row['file']}:{row['line']}" if row["line"] else row["file"] or row["detail"] for row in rows]
        return {(row["effect"], row["problem"], row["split"], place) for row, place in zip(rows, places, strict=True)}

    return run


def check_into(root: Path, runs: Path, **options: Any) -> Report:
    """Check a set; by default faces of 16 pixels are large enough, and discs of one colour may look alike."""
    chosen = {"min_face": 16, "look_alike": None, "num_workers": 0, "progress_bar": False, **options}
    return check_set(root, CheckConfig(**chosen, output_dir=str(runs), data=DataConfig(str(root))))


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    """The synthetic set, drawn small."""
    write_synthetic_faces(tmp_path / "lsd", train=24, validation=18, test=5, workers=1)
    return tmp_path / "lsd"
