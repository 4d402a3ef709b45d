"""The folders of runs: locked, removed if useless, linked as the latest."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from affect.storage.write_errors import StorageError
from experiments.runtime.config.load import RunConfig, TrainerConfig, WandbConfig, save_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.run import Run
from experiments.runtime.run_folder import RunFolder, link


def config(out: Path, **changes: Any) -> RunConfig:
    arguments = {"recipe": "paper", "output_dir": str(out), "wandb": WandbConfig(mode="disabled"), "seed": 11}
    return RunConfig(**(arguments | changes))


def made(out: Path, name: str, recipe: str = "paper", finished: bool = True) -> Path:
    folder = out / "story" / name
    folder.mkdir(parents=True)
    save_config(config(out, recipe=recipe), folder / "config.yaml")
    if finished:
        (folder / "provenance.json").write_text("{}")
    return folder


def in_another_process(function: Callable[[], None]) -> Any:
    """Run a function in a fork that stays until it is killed, as soon as it has returned."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def run() -> None:
        function()
        ready.set()
        signal.pause()

    process = context.Process(target=run)
    process.start()
    assert ready.wait(60)
    return process


def test_latest_is_the_newest_finished_run_that_is_no_debug_run(tmp_path: Path) -> None:
    made(tmp_path, "2024-01-01_00-00-00")
    made(tmp_path, "2024-01-02_00-00-00_10")
    newest = made(tmp_path, "2024-01-02_00-00-00_11")
    made(tmp_path, "2024-01-03_00-00-00", recipe="debug")
    made(tmp_path, "2024-01-04_00-00-00", finished=False)
    debug = Run("story", config(tmp_path, recipe="recipes/debug.yaml"), tmp_path)
    debug.finish({}, {})
    latest = tmp_path / "story" / "latest"
    assert latest.resolve() == newest
    resumed = made(tmp_path, "2023-01-01_00-00-00", finished=False)
    Run("story", config(tmp_path, resume=str(resumed)), tmp_path / "x").finish({}, {})
    assert latest.resolve() == newest, "a resumed old run does not become the latest"
    newer = Run("story", config(tmp_path), tmp_path)
    newer.finish({}, {})
    assert latest.resolve() == newer.folder
    assert not (newer.folder / ".lock").exists()


def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    folder = made(tmp_path, "2024-01-01_00-00-00", finished=False)
    before = (folder / "config.yaml").read_bytes()
    other = in_another_process(
        lambda: Run.__init__(Run.__new__(Run), "story", config(tmp_path, resume=str(folder)), "")
    )
    try:
        with pytest.raises(ConfigError, match=rf"{folder} is used by process {other.pid} on .*: wait"):
            Run("story", config(tmp_path, resume="latest", seed=11), tmp_path)
        assert (folder / "config.yaml").read_bytes() == before
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.join()
    RunFolder(str(tmp_path), "story", "latest", is_first=True)  # the lock has gone with the process


def test_the_lock_of_a_killed_process_is_not_kept_by_its_workers(tmp_path: Path) -> None:
    folder = made(tmp_path, "2024-01-01_00-00-00", finished=False)
    worker = multiprocessing.get_context("fork").Value("i", 0)

    def lock_and_fork() -> None:
        RunFolder(str(tmp_path), "story", str(folder), is_first=True)
        if pid := os.fork():
            worker.value = pid
        else:
            signal.pause()

    other = in_another_process(lock_and_fork)
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    try:
        RunFolder(str(tmp_path), "story", str(folder), is_first=True)
    finally:
        os.kill(worker.value, signal.SIGKILL)


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    folder = made(tmp_path, "2024-01-01_00-00-00", finished=False)
    (folder / "checkpoints").mkdir()
    rest = folder / "checkpoints" / ".last.x1y2.part.ckpt"
    rest.write_bytes(b"half")
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"whole")
    RunFolder(str(tmp_path), "story", "latest", is_first=True)
    assert not rest.exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()


def test_a_new_run_removes_temporary_files_of_killed_runs_but_not_of_running_ones(tmp_path: Path) -> None:
    held = []

    def write_half(folder: Path) -> None:
        held.append(RunFolder(str(tmp_path), "story", str(folder), is_first=True))
        (folder / ".heads.x1y2.part.safetensors").write_bytes(b"half")

    killed, running = made(tmp_path, "2024-01-01_00-00-00"), made(tmp_path, "2024-01-02_00-00-00")
    processes = [in_another_process(lambda folder=folder: write_half(folder)) for folder in (killed, running)]
    try:
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].join()
        RunFolder(str(tmp_path), "story", None, is_first=True)
        assert {path.name for path in killed.iterdir()} == {"config.yaml", "provenance.json"}
        assert (running / ".heads.x1y2.part.safetensors").is_file()
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_folder_without_a_result_is_removed_and_one_with_a_result_stays(tmp_path: Path) -> None:
    run = Run("story", config(tmp_path), tmp_path)
    assert run.close() is False
    assert not run.folder.exists()
    run = Run("story", config(tmp_path), tmp_path)
    (run.folder / "missing_train.txt").write_text("a.jpg: no such file\n")
    assert run.close() is True
    assert run.folder.exists()
    resumed = Run("story", config(tmp_path, resume=str(made(tmp_path, "2024-01-01_00-00-00"))), tmp_path)
    assert resumed.close() is True


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "story").touch()
    with pytest.raises(StorageError, match=r"story/\S+ cannot be written"):
        Run("story", config(tmp_path), tmp_path)
    with pytest.raises(StorageError, match="file/latest cannot be written"):
        link(tmp_path / "file" / "latest", Path("a"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 12}, "seed"),
        ({"trainer": TrainerConfig(precision="bf16-mixed")}, "trainer.precision"),
        ({"trainer": TrainerConfig(max_epochs=2)}, "trainer.max_epochs"),
    ],
)
def test_a_resumed_run_keeps_what_its_result_depends_on(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    first = Run("story", config(tmp_path, trainer=TrainerConfig(max_epochs=3)), tmp_path)
    before = (first.folder / "config.yaml").read_bytes()
    arguments = {"trainer": TrainerConfig(max_epochs=3), **changes, "resume": str(first.folder)}
    with pytest.raises(ConfigError, match=rf"was begun with {key}=.*cannot be changed by resuming"):
        Run("story", config(tmp_path, **arguments), tmp_path)
    assert (first.folder / "config.yaml").read_bytes() == before


def test_resources_may_change_on_a_resume_and_are_recorded_when_it_computes(tmp_path: Path) -> None:
    first = Run("story", config(tmp_path), tmp_path)
    before = (first.folder / "config.yaml").read_bytes()
    settings = TrainerConfig(num_threads=1, accelerator="cpu", progress_bar=False)
    second = Run("story", config(tmp_path, trainer=settings, resume=str(first.folder)), tmp_path)
    assert (first.folder / "config.yaml").read_bytes() == before, "nothing is written before the run computes"
    for callback in second.fit_settings.callbacks:
        callback.on_fit_start(pl.Trainer(logger=False), pl.LightningModule())
    assert (first.folder / "config.yaml").read_bytes() != before
    second.finish({}, {})
    (resume,) = json.loads((first.folder / "provenance.json").read_text())["resumes"]
    assert resume["changes"]["trainer.num_threads"] == [None, 1]


def test_a_finished_run_keeps_its_files_and_refuses_changes(tmp_path: Path) -> None:
    first = Run("story", config(tmp_path, trainer=TrainerConfig(max_epochs=1)), tmp_path)
    first.finish({"val/f1": 0.5}, {})
    before = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.suffix in (".yaml", ".json")}

    for settings in (
        TrainerConfig(max_epochs=1, num_threads=1),
        TrainerConfig(max_epochs=1, precision="bf16-mixed"),
    ):
        with pytest.raises(ConfigError, match="has finished"):
            Run("story", config(tmp_path, trainer=settings, resume=str(first.folder)), tmp_path)
    unchanged = Run("story", config(tmp_path, trainer=TrainerConfig(max_epochs=1), resume=str(first.folder)), tmp_path)
    unchanged.finish({"val/f1": 0.25}, {})
    assert before == {path.name: path.read_bytes() for path in first.folder.iterdir() if path.name in before}

    prolonged = TrainerConfig(max_epochs=2, accelerator="cpu")
    Run("story", config(tmp_path, trainer=prolonged, resume=str(first.folder)), tmp_path).finish({"val/f1": 0.75}, {})
    assert json.loads((first.folder / "metrics.json").read_text())["val/f1"] == 0.75


def test_a_signal_while_latest_is_moved_leaves_no_temporary_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latest").symlink_to("old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        link(tmp_path / "latest", Path("new"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]
    assert (tmp_path / "latest").readlink() == Path("old")
