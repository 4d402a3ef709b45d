"""Each kind of fault in some stages; `python -m tests.faults` tries more of them."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from affect.storage.atomic_write import write_text
from tests.faults.stages import STAGES, make_stages
from tests.faults.trials import FAULTS, Trials, Work, digests, run_undisturbed, try_fault


def careless(folder: Path) -> Mapping[str, object]:
    """Take a file for whole because it is there."""
    path = folder / "result.txt"
    if not path.exists():
        with path.open("w") as file:
            file.write("whole")
            file.flush()
            os.mkdir(folder / "more")  # noqa: PTH102
            file.write(" and good")
    return {"text": path.read_text()}


def careful(folder: Path) -> Mapping[str, object]:
    """Write under another name, then rename."""
    path, part = folder / "result.txt", folder / "result.txt.part"
    if not path.exists():
        part.write_text("whole and good")
        part.rename(path)
    return digests(folder)


def swallowing(folder: Path) -> Mapping[str, object]:
    """Write carefully, but go on without what cannot be written."""
    with contextlib.suppress(Exception):
        write_text(folder / "result.txt", "whole and good")
    return digests(folder)


def tried(kind: str, work: Work, folder: Path) -> Trials:
    return try_fault(FAULTS[kind], work, run_undisturbed(work, folder / "undisturbed"), folder / "trials")


def test_the_driver_distinguishes_a_careless_writer_from_a_careful_one(tmp_path: Path) -> None:
    trials = tried("SIGKILL", careless, tmp_path / "careless")
    assert list(trials.tried) == [1, 2]
    assert trials.lost == {2: "the second process:\ntext: whole"}
    trials = tried("SIGKILL", careful, tmp_path / "careful")
    assert (list(trials.tried), trials.survived, trials.lost, trials.leftovers) == ([1, 2], 2, {}, [])


def test_the_driver_reports_a_process_that_continues_without_a_result(tmp_path: Path) -> None:
    trials = tried("full disk", swallowing, tmp_path)
    assert trials.lost[1].startswith("went on with exit status 0")


def test_the_driver_reports_temporary_files(tmp_path: Path) -> None:
    trials = tried("SIGTERM", careful, tmp_path)
    assert "left " in trials.lost[2]


def test_the_driver_does_not_take_a_failure_for_a_result(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, object]:
        raise ValueError("as always")

    with pytest.raises(RuntimeError, match="as always"):
        run_undisturbed(fail, tmp_path / "undisturbed")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    return make_stages(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_disturbed_stage_ends_like_an_undisturbed_one(stages: dict[str, Work], tmp_path: Path, stage: str) -> None:
    expected = run_undisturbed(stages[stage], tmp_path / "undisturbed")
    for kind, fault in FAULTS.items():
        trials = try_fault(fault, stages[stage], expected, tmp_path / kind.replace(" ", "_"), 1)
        assert trials.tried, kind
        assert not trials.lost, kind
        assert not trials.leftovers, kind
