"""Stage 3 end to end on a tiny drawn set, with a tiny network; upscaling is tested by itself."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.backbone_file import BackboneSpec, load_backbone, save_backbone
from affect.backbones import Backbone
from affect.labels import (
    BACKBONE_EXPRESSIONS,
    SYNTHETIC_EXPRESSIONS,
    SYNTHETIC_FROM_BACKBONE,
    VALENCE_AROUSAL,
)
from affect.lsd_submission import validate_lsd_submission
from datamodules.synthetic_faces import TEST_LIST, read_test_list
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.config import ConfigError, load_config
from experiments.synthetic import Pretrained, build_data, build_module, synthetic
from experiments.synthetic_ablation import AblationConfig, ablate
from experiments.synthetic_config import SyntheticConfig
from experiments.synthetic_submit import SubmitConfig, submit

PARTS = ("pretrained", "classifier_only", "finetuned", "blend")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage3")
    write_synthetic_faces(folder / "set", train=24, validation=18, test=5, workers=1)
    architecture = "test_efficientnet.r160_in1k"
    outputs = (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL)
    spec = BackboneSpec(architecture, 32, (0.5,) * 3, (0.25,) * 3, BACKBONE_EXPRESSIONS, outputs)
    save_backbone(folder / "backbone.safetensors", Backbone(architecture, len(outputs)), spec)
    return folder


def words(folder: Path, *more: str) -> list[str]:
    return [
        f"data.root={folder / 'set'}", f"backbone={folder / 'backbone.safetensors'}", f"output_dir={folder / 'runs'}",
        f"preparation.folder={folder / 'upscaled'}", "preparation.method=lanczos", "stages.classifier.epochs=1",
        "stages.everything.epochs=1", "data.batch_size=8", "trainer.progress_bar=false", "wandb.mode=disabled", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    synthetic(load_config(SyntheticConfig, "synthetic", words(folder), "demo"))
    return folder / "runs" / "synthetic" / "latest"


def test_every_part_is_scored(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for part in PARTS:
        assert 0 <= metrics[f"val/expression_accuracy@{part}"] <= 1
        f1 = [metrics[f"val/expression_f1/{name}@{part}"] for name in SYNTHETIC_EXPRESSIONS]
        assert metrics[f"val/expression_f1@{part}"] == pytest.approx(np.mean(f1), abs=1e-6)
    best = max(metrics["val/expression_f1@pretrained"], metrics["val/expression_f1@finetuned"])
    assert metrics["val/expression_f1@blend"] >= best - 1e-6
    assert {path.stem for path in (run / "figures").iterdir()} >= {
        "blend_curve",
        "before_after",
        "confusion_blend",
    }


def test_the_pretrained_part_is_the_six_logits_by_name(folder: Path) -> None:
    config = load_config(SyntheticConfig, "synthetic", words(folder, "preparation.method=none"), "demo")
    backbone, spec = load_backbone(config.backbone)
    data = build_data(config, spec)
    module = build_module(config, data, Pretrained(backbone, spec, Path(config.backbone))).eval()
    image = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)["image"]
    expected = backbone(image)[:, SYNTHETIC_FROM_BACKBONE]
    np.testing.assert_allclose(module(image).detach(), expected.detach(), atol=1e-5)


def test_the_submission_is_valid(folder: Path, run: Path) -> None:
    path = submit(SubmitConfig(run=str(run)))
    validate_lsd_submission(path, read_test_list(folder / "set" / TEST_LIST))


def test_a_changed_backbone_is_noticed(folder: Path, run: Path, tmp_path: Path) -> None:
    blend = json.loads((run / "blend.json").read_text())
    moved = tmp_path / "run"
    moved.mkdir()
    for name in ("config.yaml", "finetuned.safetensors"):
        (moved / name).write_bytes((run / name).read_bytes())
    (moved / "blend.json").write_text(json.dumps({**blend, "pretrained_sha256": "0" * 64}))
    with pytest.raises(ConfigError, match="not the network"):
        submit(SubmitConfig(run=str(moved)))


def test_no_epoch_at_all_is_an_error(folder: Path) -> None:
    none = words(folder, "stages.classifier.epochs=0", "stages.everything.epochs=0")
    with pytest.raises(ConfigError, match="epochs"):
        synthetic(load_config(SyntheticConfig, "synthetic", none, "demo"))


def test_the_ablation_has_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import synthetic_ablation

    cheap = [synthetic_ablation.Variant("lanczos", "lanczos"), synthetic_ablation.VARIANTS[-1]]
    monkeypatch.setattr(synthetic_ablation, "VARIANTS", [
        cheap[0], synthetic_ablation.Variant("alone", "none", from_affectnet=False, published=cheap[1].published),
    ])  # fmt: skip
    table = ablate(load_config(AblationConfig, "synthetic", words(folder, "baseline_weights=none"), "demo"))
    assert list(table["part"]) == [*PARTS, "finetuned"]
    written = pd.read_csv(folder / "runs" / "synthetic_ablation" / "latest" / "ablation.csv")
    assert written["expression_f1"].tolist() == pytest.approx(table["expression_f1"].tolist())
