import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from affect.errors import InvalidOptionError
from affect.storage.upscaled_tree import MANIFEST, read_manifest
from affect.super_resolution.checkpoints import network_digest
from affect.super_resolution.load_network import load_network
from affect.super_resolution.networks import SRVGGNetCompact
from datamodules.images.dataset import UnreadableImageError
from datamodules.synthetic_faces import FaceCopy
from experiments.runtime.config.load import TrainerConfig
from experiments.synthetic.config import PreparationConfig
from experiments.synthetic.prepare_faces import prepare_faces
from experiments.upscale import UpscalingOptions

TRAINER = TrainerConfig(accelerator="cpu", progress_bar=False)


def write_face(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((8, 8, 3), level, np.uint8))


def prepare(source: Path, config: PreparationConfig, on_corrupt: str = "raise") -> FaceCopy:
    listed = [path.relative_to(source).as_posix() for path in sorted(source.glob("*/*.jpg"))]
    return prepare_faces(source, listed, config, TRAINER, on_corrupt)


@pytest.fixture
def source(tmp_path) -> Path:
    write_face(tmp_path / "faces" / "SAD" / "1.jpg", 90)
    return tmp_path / "faces"


@pytest.fixture
def config(tmp_path) -> PreparationConfig:
    torch.manual_seed(0)
    network = SRVGGNetCompact(4, num_features=8, num_convolutions=2)
    torch.save({"params": network.state_dict()}, tmp_path / "small.pth")
    upscaling = UpscalingOptions(weights=str(tmp_path / "small.pth"))
    return PreparationConfig(folder=str(tmp_path / "upscaled"), upscaling=upscaling)


def test_copies_made_otherwise_stand_side_by_side(source, config):
    first = prepare(source, config).folder
    kept = {path: path.stat().st_mtime_ns for path in first.rglob("*.*")}
    folders = {first}
    for key, value in {"precision": "bfloat16", "tile": 256, "outscale": 3.0, "engine": "realesrgan"}.items():
        setattr(config.upscaling, key, value)
        if key == "engine":
            config.upscaling.precision = "float32"
        folders.add(prepare(source, config).folder)
    config.method = "lanczos"
    folders.add(prepare(source, config).folder)
    assert len(folders) == 6
    assert all(read_manifest(folder)["complete"] for folder in folders)
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.*")} == kept


def test_a_changed_source_is_announced_and_its_finished_copy_kept(source, config, capsys):
    config.method = "lanczos"
    first = prepare(source, config).folder
    before = {path: path.read_bytes() for path in first.rglob("*.*")}
    assert prepare(source, config).folder == first
    assert "changed" not in capsys.readouterr().err
    write_face(source / "SAD" / "2.jpg", 20)
    second = prepare(source, config).folder
    said = " ".join(capsys.readouterr().err.split())
    assert f"{source} has changed since" in said
    assert "1 images added, for example SAD/2.jpg" in said
    assert second != first
    assert (second / "SAD" / "2.jpg").is_file()
    assert {path: path.read_bytes() for path in first.rglob("*.*")} == before


def test_a_rewritten_or_removed_face_is_a_change_and_going_back_finds_the_old_copy(source, config, capsys):
    config.method = "lanczos"
    write_face(source / "SAD" / "2.jpg", 20)
    first = prepare(source, config).folder
    (source / "SAD" / "2.jpg").rename(source / "kept")
    prepare(source, config)
    assert "1 images removed, for example SAD/2.jpg" in " ".join(capsys.readouterr().err.split())
    (source / "kept").rename(source / "SAD" / "2.jpg")
    assert prepare(source, config).folder == first
    os.utime(source / "SAD" / "1.jpg", (1, 1))
    (source / "SAD" / "2.jpg").unlink()
    prepare(source, config)
    assert "size or time of change of some images" in " ".join(capsys.readouterr().err.split())


def test_a_copy_of_an_earlier_version_is_used_while_its_source_is_the_same(source, config):
    config.method = "lanczos"
    made = prepare(source, config).folder
    earlier = made.rename(made.with_name(made.name.rpartition("-")[0]))
    assert prepare(source, config).folder == earlier
    assert not made.exists()


def test_unreadable_faces_stop_the_run_before_any_is_enlarged(source, config, monkeypatch):
    config.method = "lanczos"
    for number in range(12):
        (source / "SAD" / f"broken{number}.jpg").write_bytes(b"\xff\xd8 no image")
    with monkeypatch.context() as patch:
        patch.setattr("experiments.synthetic.prepare_faces.upscale_tree", lambda *arguments: pytest.fail("enlarged"))
        with pytest.raises(
            UnreadableImageError, match=r"12 of 13 faces .*\n.*SAD/broken0\.jpg: [\s\S]*on_corrupt=skip"
        ) as error:
            prepare(source, config)
    (listing,) = Path(config.folder).glob("*unreadable.txt")
    assert str(listing) in str(error.value)
    assert len(listing.read_text().splitlines()) == 12


def test_skipped_faces_are_named_in_every_run(source, config, capsys):
    config.method = "lanczos"
    broken = source / "SAD" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no image")
    for _ in range(2):
        copy = prepare(source, config, "skip")
        assert list(copy.unreadable) == ["SAD/broken.jpg"]
        assert copy.unreadable["SAD/broken.jpg"].startswith(f"{broken}: ")
        assert "1 files were left out, for example SAD/broken.jpg" in capsys.readouterr().err


def test_provenance_has_network_settings_source_and_copy(source, config):
    copy = prepare(source, config)
    made = copy.provenance
    digest = hashlib.sha256((copy.folder / MANIFEST).read_bytes()).hexdigest()
    assert made["manifest_sha256"] == digest
    network = load_network(config.upscaling.weights, "unused")
    assert made["settings"]["network_digest"] == network_digest(network)
    assert (made["settings"]["outscale"], made["source"]["images"], made["left_out"]) == (2.0, 1, 0)
    size = (copy.folder / "SAD" / "1.jpg").stat().st_size
    assert made["files_sha256"] == hashlib.sha256(f"SAD/1.jpg\0{size}\0".encode()).hexdigest()


def test_nothing_is_prepared_on_request_and_unknown_methods_are_refused(source, config):
    config.method = "none"
    assert prepare(source, config) == FaceCopy(source)
    config.method = "other"
    with pytest.raises(InvalidOptionError, match=r"preparation.method must be one of"):
        prepare(source, config)
