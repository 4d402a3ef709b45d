from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from affect.errors import InvalidOptionError
from affect.super_resolution.networks import SRVGGNetCompact
from affect.upscaled_tree import read_manifest
from experiments.config import TrainerConfig
from experiments.preparation import prepare_faces
from experiments.synthetic_config import PreparationConfig
from experiments.upscaling import UpscalingOptions

TRAINER = TrainerConfig(accelerator="cpu", progress_bar=False)


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "faces" / "SAD").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / "faces" / "SAD" / "1.jpg"), np.full((8, 8, 3), 90, np.uint8))
    return tmp_path / "faces"


@pytest.fixture
def config(tmp_path) -> PreparationConfig:
    torch.manual_seed(0)
    network = SRVGGNetCompact(4, num_features=8, num_convolutions=2)
    torch.save({"params": network.state_dict()}, tmp_path / "small.pth")
    upscaling = UpscalingOptions(weights=str(tmp_path / "small.pth"))
    return PreparationConfig(folder=str(tmp_path / "upscaled"), upscaling=upscaling)


def test_copies_made_otherwise_stand_side_by_side(source, config):
    first = prepare_faces(source, config, TRAINER)
    kept = {path: path.stat().st_mtime_ns for path in first.rglob("*.*")}
    folders = {first}
    for key, value in {"precision": "bfloat16", "tile": 256, "outscale": 3.0, "engine": "realesrgan"}.items():
        setattr(config.upscaling, key, value)
        if key == "engine":
            config.upscaling.precision = "float32"
        folders.add(prepare_faces(source, config, TRAINER))
    config.method = "lanczos"
    folders.add(prepare_faces(source, config, TRAINER))
    assert len(folders) == 6
    assert all(read_manifest(folder)["complete"] for folder in folders)
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.*")} == kept


def test_a_changed_source_is_prepared_anew_in_its_place(source, config):
    config.method = "lanczos"
    first = prepare_faces(source, config, TRAINER)
    assert cv2.imwrite(str(source / "SAD" / "2.jpg"), np.full((8, 8, 3), 20, np.uint8))
    assert prepare_faces(source, config, TRAINER) == first
    assert (first / "SAD" / "2.jpg").is_file()


def test_nothing_is_prepared_on_request_and_unknown_methods_are_refused(source, config):
    config.method = "none"
    assert prepare_faces(source, config, TRAINER) == source
    config.method = "other"
    with pytest.raises(InvalidOptionError, match=r"preparation.method must be one of"):
        prepare_faces(source, config, TRAINER)
