import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import experiments.pretrain
import experiments.staged_fit
from affect.backbone_file import load_backbone
from affect.labels import BACKBONE_EXPRESSIONS
from callbacks.throughput import Throughput
from datamodules.affectnet_annotations import read_annotations
from datamodules.images import UnreadableImageError
from experiments.config import load_config
from experiments.pretrain import PretrainConfig, pretrain
from experiments.staged_fit import FiniteLoss

STAGES = (2, 3)
STEPS = 5  # 40 faces in batches of 8


def configure(*words: str) -> PretrainConfig:
    return load_config(PretrainConfig, "pretrain", words, "debug")


@pytest.fixture(scope="session")
def words(shared_affectnet_csv: Path) -> list[str]:
    """A run of two and three epochs of five steps, with random flips."""
    return [
        f"data.root={shared_affectnet_csv}", "data.image_size=32", "data.batch_size=8", "data.num_workers=0",
        "data.flip=0.5", "model.architecture=test_efficientnet.r160_in1k", f"stages.classifier.epochs={STAGES[0]}",
        f"stages.everything.epochs={STAGES[1]}", "stages.everything.learning_rate=1e-3", "optimizer.sam_rho=0.05",
        "trainer.limit_train_batches=null", "trainer.limit_val_batches=null", "trainer.accelerator=cpu",
        "trainer.progress_bar=false", "wandb.mode=disabled",
    ]  # fmt: skip


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a tiny run's time."""
    monkeypatch.setattr(experiments.pretrain, "draw_figures", lambda *arguments: None)


def run(words: list[str], out: Path, *more: str) -> dict[str, float]:
    return pretrain(configure(*words, f"output_dir={out}", f"data.cache_dir={out}/cache", *more))


@pytest.fixture(scope="session")
def through(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("through")
    run(words, out)
    return out / "pretrain" / "latest"


def test_the_run_folder_holds_what_it_should(through: Path, words: list[str]):
    folder = through.resolve()
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "metrics.json", "provenance.json", "history.csv", "backbone.safetensors",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "figures/confusion_matrix.png",
        "figures/valence_arousal.png", "figures/training_curves.png", "figures/worst_mistakes.png",
    }  # fmt: skip
    metrics = json.loads((through / "metrics.json").read_text())
    wanted = ["expression_accuracy", "expression_accuracy_7", "expression_f1", "valence_ccc", "arousal_ccc",
              "valence_rmse", "arousal_rmse"]  # fmt: skip
    assert {*(f"val/{name}" for name in wanted), "train/images_per_second", "wall_seconds"} < set(metrics)
    assert {f"val/expression_f1/{name}" for name in BACKBONE_EXPRESSIONS} < set(metrics)
    assert all(isinstance(value, int | float) for value in metrics.values())
    provenance = json.loads((through / "provenance.json").read_text())
    assert len(provenance["data_fingerprint"]) == 64
    assert [path.name for path in through.parent.iterdir() if path.name != "latest"] == [
        through.resolve().name
    ]


def test_the_metrics_are_those_of_the_backbone_file(through: Path, shared_affectnet_csv: Path):
    """Read the file, the annotations and the images anew, and score them with scikit-learn."""
    backbone, spec = load_backbone(through / "backbone.safetensors")
    assert spec.expressions == BACKBONE_EXPRESSIONS
    assert spec.outputs == (*BACKBONE_EXPRESSIONS, "Valence", "Arousal")
    assert spec.image_size == 32
    table = read_annotations(shared_affectnet_csv, "csv").query("split == 'val'")
    images = []
    for path in table["path"]:
        face = cv2.imread(str(shared_affectnet_csv / path), cv2.IMREAD_COLOR)[4:28, 4:28, ::-1]
        images.append(cv2.resize(np.ascontiguousarray(face), (32, 32), interpolation=cv2.INTER_LINEAR))
    batch = (np.stack(images) / 255 - spec.mean) / spec.std
    with torch.no_grad():
        outputs = backbone(torch.tensor(batch.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()
    metrics = json.loads((through / "metrics.json").read_text())
    preds, target = outputs[:, :8].argmax(1), table["expression"].to_numpy()
    assert metrics["val/expression_accuracy"] == pytest.approx(accuracy_score(target, preds))
    f1 = f1_score(target, preds, average="macro", labels=range(8), zero_division=0)
    assert metrics["val/expression_f1"] == pytest.approx(f1)
    known = table["valence"].notna()
    error = outputs[known, 8] - table["valence"][known]
    assert metrics["val/valence_rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)


def test_the_history_tells_of_every_epoch_and_the_best_of_the_last_stage_is_kept(through: Path):
    history = pd.read_csv(through / "history.csv")
    assert history["epoch"].tolist() == list(range(sum(STAGES)))
    metrics = json.loads((through / "metrics.json").read_text())
    best = history["val/expression_accuracy"][STAGES[0] :].max()
    assert metrics["val/expression_accuracy"] == pytest.approx(best)
    assert history["train/learning_rate"].tolist() == pytest.approx([1e-3] * sum(STAGES))
    assert history["train/loss"].iloc[-1] < history["train/loss"].iloc[0]
    terms = history[["train/expression", "train/valence", "train/arousal"]].sum(axis=1)
    np.testing.assert_allclose(history["train/loss"], terms, rtol=1e-5)


class Stop(Exception):
    """Stands for whatever kills a run."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> list[tuple[int, int]]:
    """Let a run die after a step; the list returned fills with the steps it takes."""
    steps: list[tuple[int, int]] = []

    class Interrupter(Throughput):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, data: Any, batch_idx: int
        ) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, data, batch_idx)
            steps.append((trainer.current_epoch, batch_idx))
            if steps[-1] == (epoch, batch):
                raise Stop

    monkeypatch.setattr(experiments.staged_fit, "Throughput", Interrupter)
    return steps


def assert_same_result(found: Path, expected: Path) -> None:
    one, other = (
        load_backbone(folder / "backbone.safetensors")[0].state_dict() for folder in (found, expected)
    )
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    tables = [
        pd.read_csv(folder / "history.csv").filter(regex="^(?!.*images_per_second)")
        for folder in (found, expected)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (found, expected)]
    for clock in ("wall_seconds", "train/images_per_second"):
        for one_metrics in metrics:
            one_metrics.pop(clock, None)
    assert metrics[0] == metrics[1]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("epoch", "batch"), [(0, 2), (1, 2), (2, 0), (3, 2), (4, 4)],
    ids=["before any checkpoint", "in stage 1", "as stage 2 begins", "in the middle of stage 2", "at the last step"],
)  # fmt: skip
def test_a_killed_and_resumed_run_ends_bit_for_bit_like_one_that_ran_through(
    epoch: int, batch: int, words: list[str], through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = interrupt_at(monkeypatch, epoch, batch)
    with pytest.raises(Stop):
        run(words, tmp_path)
    assert steps[-1] == (epoch, batch)
    (folder,) = (tmp_path / "pretrain").iterdir()

    torch.rand(17)  # another process's random state
    steps = interrupt_at(monkeypatch, -1, -1)
    pretrain(configure("resume=latest", f"output_dir={tmp_path}"))
    assert steps[0] == (epoch, 0)  # at most one epoch is done twice
    assert (tmp_path / "pretrain" / "latest").resolve() == folder.resolve()
    assert_same_result(folder, through)


@pytest.mark.usefixtures("no_figures")
def test_workers_do_not_change_the_result_nor_the_resume(
    words: list[str], through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupt_at(monkeypatch, 3, 1)
    with pytest.raises(Stop):
        run(words, tmp_path, "data.num_workers=2")
    interrupt_at(monkeypatch, -1, -1)
    pretrain(configure("resume=latest", f"output_dir={tmp_path}"))
    assert_same_result(tmp_path / "pretrain" / "latest", through)


@pytest.mark.usefixtures("no_figures")
def test_a_run_killed_while_it_closes_can_be_finished(
    words: list[str], through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*arguments: Any) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(experiments.staged_fit, "validated", fail)
        with pytest.raises(Stop):
            run(words, tmp_path)
    pretrain(configure("resume=latest", f"output_dir={tmp_path}"))
    assert_same_result(tmp_path / "pretrain" / "latest", through)


@pytest.mark.usefixtures("no_figures")
def test_the_same_seed_gives_the_same_run_and_another_one_another(words: list[str], tmp_path: Path):
    short = [*words, "stages.everything.epochs=0", "stages.classifier.epochs=1", "data.flip=0.5"]
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(short, tmp_path / name, f"seed={seed}")
        backbone, _ = load_backbone(tmp_path / name / "pretrain" / "latest" / "backbone.safetensors")
        results.append(torch.cat([value.flatten().double() for value in backbone.state_dict().values()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


SHORT = ("stages.classifier.epochs=0", "stages.everything.epochs=1")


def test_missing_valence_and_arousal_are_absent_not_0(words: list[str], affectnet_csv: Path, tmp_path: Path):
    for name in ("training.csv", "validation.csv"):
        table = pd.read_csv(affectnet_csv / name)
        table[["valence", "arousal"]] = -2
        table.to_csv(affectnet_csv / name, index=False)
    metrics = run(words, tmp_path, *SHORT, f"data.root={affectnet_csv}")
    assert "val/expression_accuracy" in metrics
    assert not [name for name in metrics if "valence" in name or "arousal" in name]
    assert not (tmp_path / "pretrain" / "latest" / "figures" / "valence_arousal.png").exists()


@pytest.mark.usefixtures("no_figures")
def test_corrupt_images_stop_the_run_or_are_counted(words: list[str], affectnet_csv: Path, tmp_path: Path):
    images = affectnet_csv / "Manually_Annotated_Images"
    broken = images / "0" / "3.jpg"  # of the training part
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(UnreadableImageError, match=r"0/3\.jpg.*truncated"):
        run(words, tmp_path, *SHORT, f"data.root={affectnet_csv}")
    assert not (tmp_path / "pretrain" / "latest").exists()
    metrics = run(words, tmp_path, *SHORT, f"data.root={affectnet_csv}", "data.on_corrupt=skip")
    assert metrics["data/skipped_images"] == 1


@pytest.mark.usefixtures("no_figures")
def test_the_encoder_starts_from_another_runs_backbone(words: list[str], through: Path, tmp_path: Path):
    weights = through / "backbone.safetensors"
    run(
        words,
        tmp_path,
        f"model.weights={weights}",
        "stages.everything.epochs=0",
        "stages.classifier.epochs=1",
    )
    latest = tmp_path / "pretrain" / "latest"
    provenance = json.loads((latest / "provenance.json").read_text())
    assert len(provenance["weights_sha256"]) == 64
    found, expected = (load_backbone(path)[0] for path in (latest / "backbone.safetensors", weights))
    # The frozen encoder keeps its weights; the classifier is new.
    for (name, one), other in zip(
        found.encoder.named_parameters(), expected.encoder.parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    assert not torch.equal(found.classifier.weight, expected.classifier.weight)


@pytest.mark.usefixtures("no_figures")
def test_a_loss_that_is_no_number_stops_the_run_with_the_images(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checks = []
    monkeypatch.setattr(FiniteLoss, "_check", lambda self: checks.append(self._pending))
    run(words, tmp_path, *SHORT)
    pending = [entry for entry in checks if entry is not None]
    assert all(name.startswith("Manually_Annotated_Images/") for entry in pending for name in entry[2])
    assert len(pending) >= STEPS


@pytest.mark.usefixtures("no_figures")
def test_max_epochs_stops_early(words: list[str], tmp_path: Path):
    run(words, tmp_path, "trainer.max_epochs=1")
    assert len(pd.read_csv(tmp_path / "pretrain" / "latest" / "history.csv")) == 1


@pytest.mark.usefixtures("no_figures")
def test_the_npy_layout_runs_too(words: list[str], affectnet_npy: Path, tmp_path: Path):
    assert "val/valence_ccc" in run(
        words, tmp_path, *SHORT, f"data.root={affectnet_npy}", "trainer.precision=bf16-mixed"
    )
