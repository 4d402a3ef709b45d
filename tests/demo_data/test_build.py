import json
import multiprocessing
import time
from pathlib import Path

import pytest

from affect.errors import UserError
from affect.storage.write_errors import StorageError
from demo_data import build as production
from demo_data.build import STAMP, build, draw_all
from demo_data.renderer.face import RENDERER_VERSION


def writer(text):
    return lambda folder: (folder / "face.txt").write_text(text)


def must_not_write(folder):
    raise AssertionError("the set stands already")


def test_a_set_is_written_once_and_stamped(tmp_path):
    root = tmp_path / "deep" / "set"
    assert build(root, {"seed": 1}, writer("a"))
    assert json.loads((root / STAMP).read_text()) == {"seed": 1, "renderer": RENDERER_VERSION}
    assert not build(root, {"seed": 1}, must_not_write)


def test_a_finished_set_needs_no_writable_folder(tmp_path):
    root = tmp_path / "set"
    build(root, {}, writer("a"))
    (tmp_path / ".set.lock").unlink()
    assert not build(root, {}, must_not_write)
    assert not (tmp_path / ".set.lock").exists()


def test_another_recipe_replaces_the_set(tmp_path):
    root = tmp_path / "set"
    build(root, {"seed": 1}, lambda folder: (folder / "old.txt").write_text("old"))
    assert build(root, {"seed": 2}, writer("new"))
    assert sorted(path.name for path in root.iterdir()) == [STAMP, "face.txt"]


def test_another_renderer_makes_a_set_stale(tmp_path, monkeypatch):
    root = tmp_path / "set"
    build(root, {}, writer("a"))
    monkeypatch.setattr(production, "RENDERER_VERSION", RENDERER_VERSION + 1)
    assert build(root, {}, writer("b"))


def test_an_interrupted_set_is_drawn_anew(tmp_path):
    root = tmp_path / "set"

    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(root, {}, fail)
    assert not root.exists()
    assert build(root, {}, writer("whole"))
    assert not (root / "half.txt").exists()


def test_an_interrupted_redraw_leaves_the_old_set(tmp_path):
    root = tmp_path / "set"
    build(root, {"seed": 1}, writer("old"))

    def fail(folder):
        raise OSError("disk full")

    with pytest.raises(StorageError, match="set cannot be written: disk full"):
        build(root, {"seed": 2}, fail)
    assert (root / "face.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]
    assert not build(root, {"seed": 1}, must_not_write)


def test_a_damaged_stamp_makes_a_set_stale(tmp_path):
    root = tmp_path / "set"
    build(root, {}, writer("a"))
    (root / STAMP).write_text("{")
    assert build(root, {}, writer("b"))


def test_foreign_files_are_left_alone(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="not drawn by demo_data"):
        build(root, {}, writer("a"))
    assert (root / "holiday.jpg").read_bytes() == b"precious"


def test_an_empty_folder_may_be_used(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    assert build(root, {}, writer("a"))


def _slowly(folder: Path) -> None:
    time.sleep(0.3)
    (folder / "face.txt").write_text("drawn")


def _build_slowly(root: Path) -> bool:
    return build(root, {}, _slowly)


def test_of_several_processes_one_draws(tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        drawn = pool.map(_build_slowly, [tmp_path / "set"] * 3, chunksize=1)
    assert sorted(drawn) == [False, False, True]


def _square(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number**2


@pytest.mark.parametrize("workers", [1, 3, None])
def test_results_come_in_the_order_of_the_jobs(workers):
    numbers = list(range(20))
    assert draw_all(_square, numbers, workers=workers, description="squares") == [n**2 for n in numbers]


def test_no_jobs_give_no_results():
    assert draw_all(_square, [], description="squares") == []


def _fail(number: int) -> int:
    raise ValueError(f"job {number}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_is_reported(workers):
    with pytest.raises(ValueError, match="job 0"):
        draw_all(_fail, [0, 1], workers=workers, description="failures")
