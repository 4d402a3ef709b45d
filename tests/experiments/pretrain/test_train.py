import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from affect.errors import UserError
from affect.labels import BACKBONE_EXPRESSIONS
from affect.networks.backbone_file import load_backbone
from datamodules.images.dataset import UnreadableImageError
from datamodules.readers.affectnet import read_annotations
from experiments.runtime.demo_set import DRAWN_WEIGHTS
from experiments.runtime.fit import FiniteLoss

Runner = Callable[..., dict[str, float]]


def test_the_run_folder_holds_what_it_should(through: Path):
    folder = through.resolve()
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "metrics.json", "provenance.json", "history.csv", "run.log", "backbone.safetensors",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "figures/confusion_matrix.png",
        "figures/valence_arousal.png", "figures/training_curves.png", "figures/worst_mistakes.png",
    }  # fmt: skip
    assert "val/expression_accuracy" in (through / "run.log").read_text(encoding="utf-8"), "the closing table"
    metrics = json.loads((through / "metrics.json").read_text())
    wanted = ["expression_accuracy", "expression_accuracy_7", "expression_f1", "valence_ccc", "arousal_ccc",
              "valence_rmse", "arousal_rmse"]  # fmt: skip
    assert {*(f"val/{name}" for name in wanted), "train/images_per_second", "wall_seconds"} < set(metrics)
    assert {f"val/expression_f1/{name}" for name in BACKBONE_EXPRESSIONS} < set(metrics)
    assert all(isinstance(value, int | float) for value in metrics.values())
    provenance = json.loads((through / "provenance.json").read_text())
    assert len(provenance["data_fingerprint"]) == 64
    assert [path.name for path in through.parent.iterdir() if path.name != "latest"] == [through.resolve().name]


def test_the_metrics_are_those_of_the_backbone_file(through: Path, rescore: Callable):
    _, spec = load_backbone(through / "backbone.safetensors")
    assert spec.expressions == BACKBONE_EXPRESSIONS
    assert spec.outputs == (*BACKBONE_EXPRESSIONS, "Valence", "Arousal")
    assert spec.image_size == 32
    metrics = json.loads((through / "metrics.json").read_text())
    for name, value in rescore(through).items():
        assert metrics[name] == pytest.approx(value, rel=1e-4), name


def test_the_history_has_every_epoch_and_the_best_of_the_last_stage_is_kept(through: Path):
    history = pd.read_csv(through / "history.csv")
    assert history["epoch"].tolist() == list(range(5))
    metrics = json.loads((through / "metrics.json").read_text())
    best = history["val/expression_accuracy"][2:].max()
    assert metrics["val/expression_accuracy"] == pytest.approx(best)
    assert history["train/learning_rate"].tolist() == pytest.approx([1e-3] * 5)
    assert history["train/loss"].iloc[-1] < history["train/loss"].iloc[0]
    terms = history[["train/expression", "train/valence", "train/arousal"]].sum(axis=1)
    np.testing.assert_allclose(history["train/loss"], terms, rtol=1e-5)


@pytest.mark.usefixtures("no_figures")
def test_the_same_seed_gives_the_same_run_and_another_one_another(run_pretrain: Runner, tmp_path: Path):
    short = ("stages.everything.epochs=0", "stages.classifier.epochs=1")
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_pretrain(tmp_path / name, *short, f"seed={seed}")
        backbone, _ = load_backbone(tmp_path / name / "pretrain" / "latest" / "backbone.safetensors")
        results.append(torch.cat([value.flatten().double() for value in backbone.state_dict().values()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_data_is_identified_by_content(through: Path):
    fingerprint = json.loads((through / "provenance.json").read_text())["data_fingerprint"]
    assert load_backbone(through / "backbone.safetensors")[1].notes == {
        "recipe": "tiny",
        "data": fingerprint,
    }


SHORT = ("stages.classifier.epochs=0", "stages.everything.epochs=1")


def test_missing_valence_and_arousal_are_absent_not_0(run_pretrain: Runner, affectnet_csv: Path, tmp_path: Path):
    for name in ("training.csv", "validation.csv"):
        table = pd.read_csv(affectnet_csv / name)
        table[["valence", "arousal"]] = -2
        table.to_csv(affectnet_csv / name, index=False)
    metrics = run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}")
    assert "val/expression_accuracy" in metrics
    assert not [name for name in metrics if "valence" in name or "arousal" in name]
    assert not (tmp_path / "pretrain" / "latest" / "figures" / "valence_arousal.png").exists()


@pytest.mark.usefixtures("no_figures")
def test_corrupt_images_stop_the_run_or_are_counted(run_pretrain: Runner, affectnet_csv: Path, tmp_path: Path):
    images = affectnet_csv / "Manually_Annotated_Images"
    broken = images / "0" / "3.jpg"  # of the training part
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(UnreadableImageError, match=r"0/3\.jpg.*truncated"):
        run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}")
    assert not (tmp_path / "pretrain" / "latest").exists()
    metrics = run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}", "data.on_corrupt=skip")
    assert metrics["data/skipped_images"] == 1


@pytest.mark.usefixtures("no_figures")
def test_the_encoder_starts_from_another_runs_backbone(run_pretrain: Runner, through: Path, tmp_path: Path):
    weights = through / "backbone.safetensors"
    run_pretrain(
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
    for (name, one), other in zip(found.encoder.named_parameters(), expected.encoder.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(found.classifier.weight, expected.classifier.weight)


@pytest.mark.usefixtures("no_figures")
def test_a_loss_that_is_no_number_stops_the_run_with_the_images(
    run_pretrain: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checks = []
    monkeypatch.setattr(FiniteLoss, "_check", lambda self: checks.append(self._pending))
    run_pretrain(tmp_path, *SHORT)
    pending = [entry for entry in checks if entry is not None]
    assert all(name.startswith("Manually_Annotated_Images/") for entry in pending for name in entry[2])
    assert len(pending) >= 5


@pytest.mark.usefixtures("no_figures")
def test_max_epochs_stops_early_and_names_the_stages_that_it_cuts(
    run_pretrain: Runner, tmp_path: Path, capsys: pytest.CaptureFixture
):
    run_pretrain(tmp_path, "trainer.max_epochs=1")
    assert "stage everything (3 epochs) does not train at all" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "pretrain" / "latest" / "history.csv")) == 1


@pytest.mark.usefixtures("no_figures")
def test_the_npy_layout_runs_too(run_pretrain: Runner, affectnet_npy: Path, tmp_path: Path):
    assert "val/valence_ccc" in run_pretrain(
        tmp_path, *SHORT, f"data.root={affectnet_npy}", "trainer.precision=bf16-mixed"
    )


@pytest.mark.usefixtures("no_figures")
def test_missing_images_of_any_list_stop_the_run_before_it_trains(
    run_pretrain: Runner, affectnet_csv: Path, tmp_path: Path
):
    listed = read_annotations(affectnet_csv, "csv").query("split == 'val'")["path"].tolist()[:12]
    for path in listed:
        (affectnet_csv / path).unlink()
    with pytest.raises(UnreadableImageError) as error:
        run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}")
    (listing,) = tmp_path.glob("pretrain/*/missing_images.txt")
    assert not list(listing.parent.rglob("history.csv")), "no epoch was lost"
    lines = [f"{affectnet_csv / path}: No such file or directory" for path in listed]
    assert listing.read_text().splitlines() == lines
    message = str(error.value)
    assert message.startswith("12 of 56 listed images are missing or unreadable:\n" + "\n".join(lines[:10]))
    assert lines[10] not in message
    assert str(listing) in message

    metrics = run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}", "data.on_corrupt=skip")
    assert metrics["data/skipped_images"] == 12
    skipped = tmp_path / "pretrain" / "latest" / "skipped_images.txt"
    assert skipped.read_text().splitlines() == sorted(lines)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("missing", [True, False], ids=["missing", "damaged"])
def test_validation_images_none_of_which_can_be_read_are_named(
    run_pretrain: Runner, affectnet_csv: Path, tmp_path: Path, missing: bool
):
    for path in read_annotations(affectnet_csv, "csv").query("split == 'val'")["path"]:
        (affectnet_csv / path).unlink() if missing else (affectnet_csv / path).write_bytes(b"")
    message = (
        r"not one of the 16 images of the val list.*No such file.*right folder"
        if missing
        else r"not one validation image could be read, .*skipped were 16 images, for example .*\.jpg: "
    )
    with pytest.raises(UserError, match=message):
        run_pretrain(tmp_path, *SHORT, f"data.root={affectnet_csv}", "data.on_corrupt=skip")


def test_drawn_weights_on_photographs_are_warned_of_and_recorded(
    run_pretrain: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    through: Path,
):  # fmt: skip
    class Stopped(Exception):
        pass

    def stop(*arguments: object) -> None:
        raise Stopped

    monkeypatch.setattr("experiments.pretrain.train.fit_in_stages", stop)
    architecture = "model.architecture=tf_efficientnet_b0.ns_jft_in1k"
    with pytest.raises(Stopped):
        run_pretrain(tmp_path, architecture, f"model.weights={DRAWN_WEIGHTS}")
    printed = capsys.readouterr()
    assert "warning: the encoder starts from" in printed.err
    assert "WEIGHTS=" in printed.err
    assert "training faces" in printed.out
    provenance = json.loads((through / "provenance.json").read_text())
    assert provenance["weights_from_drawn_faces"] is False
    assert provenance["official_set"] is False
