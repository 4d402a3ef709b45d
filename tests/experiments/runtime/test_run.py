import datetime
import json
import os
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from matplotlib.figure import Figure
from pytorch_lightning.utilities import rank_zero_only

import experiments.runtime.config.load
import experiments.runtime.run
import experiments.runtime.run_folder
from callbacks.wall_clock import WallClock
from experiments.runtime.config.load import RunConfig, TrainerConfig, WandbConfig
from experiments.runtime.config.options import ConfigError
from experiments.runtime.run import Run
from experiments.runtime.trainer import build_trainer


def config(out: Path, **changes: Any) -> RunConfig:
    arguments = {"recipe": "x", "output_dir": str(out), "wandb": WandbConfig(mode="disabled"), "seed": 11}
    return RunConfig(**(arguments | changes))


def test_a_run_makes_its_folder_and_finishing_makes_it_the_latest(tmp_path: Path):
    first = Run("story", config(tmp_path), tmp_path)
    second = Run("story", config(tmp_path), tmp_path)  # in the same second: another folder
    assert first.folder != second.folder
    assert first.folder.parent == tmp_path / "story"
    assert (first.folder / "figures").is_dir()
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["seed"] == 11
    latest = tmp_path / "story" / "latest"
    assert not latest.exists()

    metrics = first.finish({"val/f1": 0.5}, {"data_fingerprint": "abc"})
    assert json.loads((first.folder / "metrics.json").read_text()) == metrics
    assert metrics["val/f1"] == 0.5
    assert metrics["wall_seconds"] >= 0
    assert latest.readlink() == Path(first.folder.name)  # relative: the tree may be moved
    second.finish({}, {})
    assert latest.resolve() == second.folder.resolve()


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = datetime.datetime(2024, 1, 2, 3, 4, 5)
    monkeypatch.setattr(experiments.runtime.run_folder.datetime, "datetime", SimpleNamespace(now=lambda: now))
    # What a process sees just before another makes the folder.
    monkeypatch.setattr(Path, "exists", lambda path: False)
    names = [Run("story", config(tmp_path), tmp_path).folder.name for _ in range(3)]
    assert names == ["2024-01-02_03-04-05", "2024-01-02_03-04-05_2", "2024-01-02_03-04-05_3"]


def test_the_time_before_a_resume_counts(tmp_path: Path):
    run = Run("story", config(tmp_path), tmp_path)
    for callback in run.fit_settings.callbacks:
        if isinstance(callback, WallClock):
            callback.load_state_dict({"seconds": 1000.0})
    assert 1000 <= run.finish({}, {})["wall_seconds"] < 1100


@pytest.mark.parametrize("key", ["limit_train_batches", "limit_val_batches"])
def test_no_batch_at_all_is_refused_before_a_folder_is_made(tmp_path: Path, key: str):
    settings = TrainerConfig(**{key: 0.0})
    with pytest.raises(ConfigError, match=rf"trainer\.{key} must be above 0, not 0"):
        Run("story", config(tmp_path / "runs", trainer=settings), tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"precision": "16-mixed"}, "precision must be one of 32-true, bf16-mixed, not '16-mixed'"),
        ({"max_epochs": 0}, "max_epochs must be at least 1"),
        ({"max_epochs": -1}, "max_epochs must be at least 1"),
    ],
)
def test_a_trainer_that_cannot_train_is_refused_before_a_folder_is_made(
    tmp_path: Path, setting: dict[str, Any], reason: str
):
    with pytest.raises(ConfigError, match=rf"trainer\.{reason}"):
        Run("story", config(tmp_path / "runs", trainer=TrainerConfig(**setting)), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_provenance_has_versions_seed_device_and_command(tmp_path: Path):
    run = Run("story", config(tmp_path), tmp_path)
    run.finish({}, {"data_fingerprint": "abc", "weights_sha256": "def"})
    provenance = json.loads((run.folder / "provenance.json").read_text())
    assert provenance["seed"] == 11
    assert provenance["data_fingerprint"] == "abc"
    assert provenance["weights_sha256"] == "def"
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert provenance["versions"]["python"] == platform.python_version()
    assert {"git_revision", "git_dirty", "device", "cpu_count", "command", "finished"} < set(provenance)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_that_are_no_numbers_are_refused_and_the_latest_run_stays(tmp_path: Path, value: float):
    Run("story", config(tmp_path), tmp_path).finish({}, {})
    before = (tmp_path / "story" / "latest").readlink()
    run = Run("story", config(tmp_path), tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        run.finish({"val/f1": value}, {})
    assert (tmp_path / "story" / "latest").readlink() == before
    assert not (run.folder / "metrics.json").exists()


def test_the_seed_reaches_every_generator(tmp_path: Path):
    draws = []
    for _ in range(2):
        Run("story", config(tmp_path), tmp_path)
        draws.append(torch.rand(2).tolist())
    assert draws[0] == draws[1]


def test_a_resumed_run_keeps_its_folder_and_a_config_that_starts_afresh(tmp_path: Path):
    first = Run("story", config(tmp_path), tmp_path)
    assert not first.fit_settings.resume
    second = Run("story", config(tmp_path, resume=str(first.folder)), tmp_path)
    assert second.folder == first.folder
    assert second.fit_settings.resume
    # Given as recipe= later, it must not resume this run.
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["resume"] is None


def test_processes_of_one_run_share_a_folder_and_only_the_first_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = Run("story", config(tmp_path), tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    before = sorted(tmp_path.rglob("*"))
    other = Run("story", config(tmp_path), tmp_path)
    assert other.folder == first.folder
    other.save_figures({"a": Figure()})
    assert other.finish({"a": 1.0}, {})["a"] == 1.0
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_wandb_mode_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="auto, online, offline or disabled, not 'of'"):
        Run("story", config(tmp_path / "runs", wandb=WandbConfig(mode="of")), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_figures_showing_licensed_images_stay_here(tmp_path: Path):
    sent: list[dict[str, Any]] = []

    class Logger:
        experiment = type("Experiment", (), {"log": staticmethod(sent.append)})

    (tmp_path / "licensed").mkdir()
    for allowed, expected in ((False, ["figures/curves"]), (True, ["figures/curves", "figures/faces"])):
        wandb = WandbConfig(mode="disabled", log_images=allowed)
        run = Run("story", config(tmp_path, wandb=wandb), tmp_path / "licensed")
        run.logger = Logger()  # type: ignore[assignment]
        run.save_figures({"curves": Figure(), "faces": Figure()}, showing_images=["faces"])
        assert [key for row in sent for key in row] == expected
        assert {path.stem for path in (run.folder / "figures").iterdir()} == {"curves", "faces"}
        sent.clear()


def test_the_trainer_follows_its_configuration():
    settings = TrainerConfig(
        accelerator="cpu",
        precision="bf16-mixed",
        limit_train_batches=3.0,
        limit_val_batches=0.5,
        progress_bar=False,
    )
    trainer = build_trainer(settings, logger=False, max_epochs=7, enable_checkpointing=False)
    assert trainer.limit_train_batches == 3
    assert isinstance(trainer.limit_train_batches, int)
    assert trainer.limit_val_batches == 0.5
    assert trainer.precision == "bf16-mixed"
    assert trainer.max_epochs == 7
    assert trainer.progress_bar_callback is None
    progress = build_trainer(TrainerConfig(accelerator="cpu"), logger=False).progress_bar_callback
    assert isinstance(progress, pl.callbacks.RichProgressBar)


def test_a_message_is_printed_literally(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        experiments.runtime.config.load.stop("classes ['a', 'b'] in [/data/x] are wrong")
    assert "classes ['a', 'b'] in [/data/x] are wrong" in capsys.readouterr().err


def test_the_environment_is_left_clean_by_a_finished_run(tmp_path: Path):
    Run("story", config(tmp_path), tmp_path).finish({}, {})
    assert "MT_EMOTIEFFNET_RUN_DIR" not in os.environ
