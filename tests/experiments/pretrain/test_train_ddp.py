"""Two processes from the command line, as a user starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from affect.labels import BACKBONE_EXPRESSIONS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_folders(shared_affectnet_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The run folders that a two-process run of both stages leaves."""
    out = tmp_path_factory.mktemp("ddp")
    words = [
        f"data.root={shared_affectnet_csv}", f"data.cache_dir={out}/cache", f"output_dir={out}", "recipe=debug",
        "data.image_size=32", "data.batch_size=5", "model.architecture=test_efficientnet.r160_in1k",
        "stages.everything.learning_rate=1e-3", "trainer.limit_train_batches=null", "trainer.limit_val_batches=null",
        "trainer.accelerator=cpu", "trainer.devices=2", "trainer.progress_bar=false",
    ]  # fmt: skip
    command = [sys.executable, "-m", "experiments.pretrain", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [path for path in (out / "pretrain").iterdir() if not path.is_symlink()]


def test_there_is_one_whole_run_folder(run_folders: list[Path]):
    (folder,) = run_folders
    assert (folder / "metrics.json").is_file()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "provenance.json",
        "history.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    } < files
    assert len(pd.read_csv(folder / "history.csv")) == 2


def test_all_processes_judge_the_same_network_while_training(run_folders: list[Path]):
    """BatchNorm statistics move apart between steps; the last stage had one epoch, so its scores are the final ones."""
    metrics = json.loads((run_folders[0] / "metrics.json").read_text())
    last = pd.read_csv(run_folders[0] / "history.csv").iloc[-1]
    for name, value in metrics.items():
        if name.startswith("val/"):
            assert last[name] == pytest.approx(value, rel=1e-5), name


def test_the_metrics_have_the_same_names_and_are_those_of_the_network_saved(run_folders: list[Path], rescore: Callable):
    metrics = json.loads((run_folders[0] / "metrics.json").read_text())
    names = ["expression_accuracy", "expression_accuracy_7", "expression_f1", "valence_ccc", "arousal_ccc",
             "valence_rmse", "arousal_rmse", *(f"expression_f1/{name}" for name in BACKBONE_EXPRESSIONS)]  # fmt: skip
    assert set(metrics) == {*(f"val/{name}" for name in names), "train/images_per_second", "wall_seconds"}
    for name, value in rescore(run_folders[0]).items():
        assert metrics[name] == pytest.approx(value, rel=1e-4), name
