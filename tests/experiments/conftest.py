"""Tiny runs, as the tests of stages 1 and 2 need them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import experiments.mtl.train
import experiments.pretrain.train
from affect.networks.backbone_file import load_backbone
from datamodules.readers.affectnet import read_annotations
from experiments.pretrain.train import PretrainConfig, pretrain
from experiments.runtime.config.load import load_config
from experiments.runtime.reports.messages import show_messages

Runner = Callable[..., dict[str, float]]


@pytest.fixture(autouse=True)
def messages() -> None:
    """Show messages as a command does."""
    show_messages()


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a tiny run's time."""
    for story in (experiments.mtl.train, experiments.pretrain.train):
        monkeypatch.setattr(story, "draw_figures", lambda *arguments: {})


@pytest.fixture
def words(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return the words of a tiny run of stage 2; further words override."""

    def make(*more: str) -> list[str]:
        return [
            f"data.root={aff_wild2}", f"backbone={tiny_backbone}", f"output_dir={tmp_path / 'runs'}",
            f"features.cache_dir={tmp_path / 'cache'}", "features.engine=torch", "heads.batch_size=32",
            "heads.joint_batch_size=32", "heads.learning_rate=0.01", "calibration.num_folds=2",
            "calibration.valence_arousal.window=30", "calibration.expression.window=30",
            "trainer.progress_bar=false", "wandb.mode=disabled", *more,
        ]  # fmt: skip

    return make


@pytest.fixture(scope="session")
def run_pretrain(shared_affectnet_csv: Path) -> Runner:
    """Run two and three epochs of five steps with random flips, below a folder; further words override."""
    words = [
        f"data.root={shared_affectnet_csv}", "data.image_size=32", "data.batch_size=8", "data.num_workers=0",
        "data.flip=0.5", "model.architecture=test_efficientnet.r160_in1k", "stages.classifier.epochs=2",
        "stages.everything.epochs=3", "stages.everything.learning_rate=1e-3", "optimizer.sam_rho=0.05",
        "trainer.limit_train_batches=null", "trainer.limit_val_batches=null", "trainer.accelerator=cpu",
        "trainer.progress_bar=false", "wandb.mode=disabled",
    ]  # fmt: skip

    def run(out: Path, *more: str) -> dict[str, float]:
        words_here = [*words, f"output_dir={out}", f"data.cache_dir={out}/cache", *more]
        config = load_config(PretrainConfig, "pretrain", words_here, "debug")
        return pretrain(replace(config, recipe="tiny"))  # by its name a debug run, which never becomes the latest

    return run


@pytest.fixture(scope="session")
def through(run_pretrain: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; for reading only."""
    show_messages()  # session fixtures come before `messages`
    out = tmp_path_factory.mktemp("through")
    run_pretrain(out)
    return out / "pretrain" / "latest"


@pytest.fixture(scope="session")
def rescore(shared_affectnet_csv: Path) -> Callable[[Path], dict[str, float]]:
    """Score a run's backbone file anew: read it, the annotations and the images here, score with scikit-learn."""

    def score(run_folder: Path) -> dict[str, float]:
        backbone, spec = load_backbone(run_folder / "backbone.safetensors")
        table = read_annotations(shared_affectnet_csv, "csv").query("split == 'val'")
        faces = [cv2.imread(str(shared_affectnet_csv / path))[4:28, 4:28, ::-1] for path in table["path"]]
        faces = [cv2.resize(np.ascontiguousarray(face), (32, 32)) for face in faces]
        batch = ((np.stack(faces) / 255 - spec.mean) / spec.std).transpose(0, 3, 1, 2)
        with torch.no_grad():
            outputs = backbone(torch.tensor(batch, dtype=torch.float32)).numpy()
        preds, target = outputs[:, :8].argmax(1), table["expression"].to_numpy()
        scores = {
            "val/expression_accuracy": accuracy_score(target, preds),
            "val/expression_f1": f1_score(target, preds, average="macro", labels=range(8), zero_division=0),
        }
        for column, name in enumerate(("valence", "arousal")):
            known = table[name].notna()
            error = outputs[known, 8 + column] - table[name][known]
            scores[f"val/{name}_rmse"] = np.sqrt((error**2).mean())
        return scores

    return score
