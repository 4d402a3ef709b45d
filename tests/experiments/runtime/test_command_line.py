import logging
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch._utils import ExceptionWrapper

import experiments.runtime.config.load
from affect.errors import MissingFileError, UserError
from affect.networks.backbone import input_statistics
from affect.storage.feature_store import FeatureStoreError
from datamodules.images.dataset import UnreadableImageError
from datamodules.readers.annotation_errors import AnnotationError
from experiments.runtime.command_line import TRACEBACK_VARIABLE, run_experiment, run_on_finished_run
from experiments.runtime.config.load import RunConfig
from experiments.runtime.config.options import option
from experiments.runtime.run import Run
from experiments.synthetic.config import PreparationConfig
from experiments.synthetic.prepare_faces import prepare_faces


@dataclass
class Config(RunConfig):
    """Keys of a command that has a run."""

    run: str = option("runs/story/latest", "its run")


@pytest.fixture(autouse=True)
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes" / "story"
    folder.mkdir(parents=True)
    (folder / "demo.yaml").write_text("seed: 5\n")
    monkeypatch.setattr(experiments.runtime.config.load, "RECIPES", tmp_path / "recipes")
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["story"])


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        AnnotationError("a.csv:3: wrong"),
        UnreadableImageError("b.jpg"),
        MissingFileError("no c"),
        FeatureStoreError("d"),
    ],
)
def test_a_user_error_ends_with_a_message(error: Exception, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        run_experiment(Config, "story", lambda _: raising(error))
    assert caught.value.code == 2
    assert str(error) in capsys.readouterr().err


def test_the_message_of_a_loaders_worker_comes_without_its_traceback(capsys: pytest.CaptureFixture) -> None:
    def fail(_: Config) -> None:
        try:
            raise UnreadableImageError("b.jpg: truncated; copy it again")
        except UnreadableImageError:
            wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
        wrapped.reraise()

    with pytest.raises(SystemExit):
        run_experiment(Config, "story", fail)
    assert capsys.readouterr().err.strip() == "error: b.jpg: truncated; copy it again"


def test_a_wrong_value_that_a_check_of_ours_finds_is_a_message_too(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_: Config) -> None:
        prepare_faces(tmp_path, [], PreparationConfig(method="magic"), experiments.runtime.config.load.TrainerConfig())

    with pytest.raises(SystemExit):
        run_experiment(Config, "story", prepare)
    assert "not 'magic'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_experiment(Config, "story", lambda _: input_statistics("efficientnet_b99"))
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(Exception, match="magic"):
        run_experiment(Config, "story", prepare)


@pytest.mark.parametrize("mistake", [lambda _: {}["bug"], lambda _: np.zeros(3).reshape(2, 2), lambda _: int("seven")])
def test_a_mistake_of_the_program_keeps_its_traceback(mistake) -> None:
    with pytest.raises((KeyError, ValueError)):
        run_experiment(Config, "story", mistake)


def test_another_experiments_recipes_but_its_own_runs_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for experiment, seed in (("story", 7), ("story_ablation", 9)):
        folder = tmp_path / "runs" / experiment / "2026-01-01_00-00-00"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"seed: {seed}\nrecipe: demo\n")
    seeds: list[int] = []

    def tell(config: Config) -> None:
        seeds.append(config.seed)

    run_experiment(Config, "story_ablation", tell, recipes="story")
    monkeypatch.setattr(sys, "argv", ["story_ablation", f"output_dir={tmp_path / 'runs'}", "resume=latest"])
    run_experiment(Config, "story_ablation", tell, recipes="story")
    assert seeds == [5, 9]


@pytest.mark.parametrize("stage", ["mtl", "synthetic"])
def test_an_ablation_resumes_its_own_runs(stage: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"experiments.{stage}.ablate", f"output_dir={tmp_path}", "resume=latest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"no run of {stage}_ablation below {tmp_path}" in " ".join(done.stderr.split())


def test_a_finished_runs_configuration_takes_the_recipes_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\nrecipe: demo\n")
    found: list[Config] = []
    monkeypatch.setattr(sys, "argv", ["story_submit", f"run={tmp_path}", "trainer.devices=3"])
    run_on_finished_run(Config, "story_submit", found.append, "story")
    assert (found[0].seed, found[0].trainer.devices, found[0].run) == (7, "3", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["story_submit", "run=nowhere"])
    with pytest.raises(SystemExit):
        run_on_finished_run(Config, "story_submit", found.append, "story")
    assert "nowhere is no finished run of story; `make story` makes one" in capsys.readouterr().err


def test_a_signal_outside_a_trainer_ends_with_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = [f"output_dir={tmp_path / 'runs'}", "wandb.mode=disabled"]
    monkeypatch.setattr(sys, "argv", ["story", *words])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.story", *words])

    def read_for_ever(config: Config) -> None:
        run = Run("story", config, tmp_path)
        assert run.folder.is_dir()
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        run_experiment(Config, "story", read_for_ever)
    assert caught.value.code == 143
    assert capsys.readouterr().err.splitlines() == [
        "stopped by SIGTERM. Finished work is kept; continue with",
        shlex.join(["python", "-m", "experiments.story", *words]),
    ]
    assert not any((tmp_path / "runs" / "story").iterdir()), "a folder with nothing to go on with is removed"


def test_a_signal_that_a_library_turns_into_an_error_is_still_a_signal(capsys: pytest.CaptureFixture) -> None:
    def swallow(_: Config) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            raise RuntimeError("worker exited unexpectedly") from error

    with pytest.raises(SystemExit) as caught:
        run_experiment(Config, "story", swallow)
    assert caught.value.code == 130
    assert "stopped by SIGINT" in capsys.readouterr().err


@pytest.mark.parametrize("error", [UserError("no"), ValueError("bug")])
def test_a_failed_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(sys, "argv", ["story", f"output_dir={tmp_path / 'runs'}", "wandb.mode=disabled"])

    def fail(config: Config) -> None:
        Run("story", config, tmp_path)
        raise error

    with pytest.raises((SystemExit, ValueError)):
        run_experiment(Config, "story", fail)
    assert not any((tmp_path / "runs" / "story").iterdir())


def test_a_closed_pipe_ends_with_a_message(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit) as caught:
            run_experiment(Config, "story", lambda _: logging.getLogger("experiments").info("a line"))
        monkeypatch.undo()
    assert caught.value.code == 141
    assert "standard output is closed" in capfd.readouterr().err
