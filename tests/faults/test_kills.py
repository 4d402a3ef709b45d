"""A kill or two per stage; `python -m tests.faults` tries more of them."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faults.kills import Work, digests, try_kills
from tests.faults.stages import STAGES, make_stages


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


def test_the_driver_tells_a_careless_writer_from_a_careful_one(tmp_path: Path) -> None:
    trials = try_kills(careless, tmp_path / "careless")
    assert (trials.changes, list(trials.tried)) == (2, [1, 2])
    assert trials.lost == {2: "text: whole"}
    trials = try_kills(careful, tmp_path / "careful")
    assert (trials.changes, trials.survived, trials.lost, trials.leftovers) == (2, 2, {}, 0)


def test_the_driver_does_not_take_a_failure_for_a_result(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, object]:
        raise ValueError("as always")

    with pytest.raises(RuntimeError, match="as always"):
        try_kills(fail, tmp_path)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    return make_stages(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_like_an_undisturbed_one(
    stages: dict[str, Work], tmp_path: Path, stage: str
) -> None:
    trials = try_kills(stages[stage], tmp_path, 1)
    assert trials.tried
    assert not trials.lost
