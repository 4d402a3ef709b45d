import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only

from affect.networks.backbone import Backbone
from affect.networks.backbone_file import read_spec
from affect.networks.weight_import import load_encoder_weights
from affect.storage.fingerprint import file_digest
from experiments.pretrain.train_identity import FacesConfig, train_faces
from experiments.runtime.config.load import load_config


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three people told apart by brightness, with a bright spot as their one landmark."""
    root, rng = tmp_path / "people", np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for person in range(3):
            folder = root / split / f"p{person}"
            folder.mkdir(parents=True)
            lines = ["file,x0,y0"]
            for number in range(count):
                x, y = rng.integers(6, 26, 2)
                pixels = np.full((32, 32, 3), 40 + 60 * person, np.uint8)
                cv2.circle(pixels, (int(x), int(y)), 3, (255, 255, 255), -1)
                assert cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
                lines.append(f"{number}.jpg,{x},{y}")
            (folder / "landmarks.csv").write_text("\n".join(lines))
    return root


def configure(people: Path, out: Path, architecture: str) -> FacesConfig:
    words = [
        f"data.root={people}", f"output_dir={out}", f"data.cache_dir={out}/cache", f"architecture={architecture}",
        "data.image_size=32", "data.batch_size=8", "data.num_workers=0", "epochs=2", "trainer.accelerator=cpu",
        "trainer.progress_bar=false", "wandb.mode=disabled",
    ]  # fmt: skip
    return load_config(FacesConfig, "faces", words, "demo")


def test_a_run_leaves_an_encoder_that_stage_1_can_start_from(people: Path, tmp_path: Path, tiny_architecture: str):
    metrics = train_faces(configure(people, tmp_path, tiny_architecture))
    assert {"val/identity_accuracy", "val/landmark_error", "wall_seconds"} <= set(metrics)
    folder = (tmp_path / "faces" / "latest").resolve()
    path = folder / "backbone.safetensors"
    spec = read_spec(path)
    assert spec.architecture == tiny_architecture
    assert spec.outputs == ()
    assert spec.notes["people"] == 3
    torch.manual_seed(0)
    encoder = Backbone(tiny_architecture, 0).encoder
    report = load_encoder_weights(encoder, path)
    assert not report.ignored
    assert not report.unexpected
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["weights_sha256"] == file_digest(path)
    assert (folder / "figures" / "training_curves.png").is_file()


def test_another_process_than_the_first_needs_no_file(
    people: Path, tmp_path: Path, tiny_architecture: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert "val/identity_accuracy" in train_faces(configure(people, tmp_path, tiny_architecture))
    assert not list(tmp_path.rglob("backbone.safetensors"))
