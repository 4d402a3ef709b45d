"""Extraction that is stopped, shared out or repeated gives the same bytes."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from affect.networks.backbone_file import load_backbone, save_backbone
from affect.storage.feature_store import FeatureStore, FeatureStoreError
from affect.storage.locks import exclusive_lock
from callbacks.feature_prediction_writer import FeaturePredictionWriter
from datamodules.aff_wild2 import image_folder, load_annotations
from datamodules.images.dataset import UnreadableImageError, read_image
from datamodules.transforms import DeviceTransform
from experiments.mtl.config import DataConfig, FeaturesConfig, MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, _broadcast
from experiments.runtime.config.load import TrainerConfig, WandbConfig
from experiments.runtime.run import Run


def make_extractor(
    root: Path, backbone: Path, folder: Path, engine: str = "torch", max_missing: int = 0, **trainer: object
) -> FeatureExtractor:
    config = MtlConfig(
        recipe="test",
        output_dir=str(folder / "runs"),
        backbone=str(backbone),
        data=DataConfig(root=str(root), max_missing=max_missing, num_workers=0),
        features=FeaturesConfig(cache_dir=str(folder / "cache"), batch_size=7, engine=engine),
        trainer=TrainerConfig(accelerator="cpu", progress_bar=False, **trainer),  # type: ignore[arg-type]
        wandb=WandbConfig(mode="disabled"),
    )
    folder = Run("mtl", config, root).folder
    return FeatureExtractor(config.backbone, config.data, config.features, config.trainer, folder)


def names_of(root: Path) -> list[str]:
    return load_annotations(root, "train").name


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the only store below a folder."""
    (path,) = folder.rglob("features.npy")
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


@pytest.fixture
def whole(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> dict[str, bytes]:
    make_extractor(aff_wild2, tiny_backbone, tmp_path / "whole").store("train", names_of(aff_wild2))
    return content(tmp_path / "whole")


@pytest.mark.parametrize("engine", ["torch", "onnx", "openvino"])
def test_rows_are_the_backbones_features_and_outputs(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, engine: str
) -> None:
    names = names_of(aff_wild2)
    store = make_extractor(aff_wild2, tiny_backbone, tmp_path, engine).store("train", names)
    backbone, spec = load_backbone(tiny_backbone)
    pixels = np.stack([read_image(image_folder(aff_wild2) / name) for name in names])
    image = DeviceTransform(spec.mean, spec.std)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    with torch.inference_mode():
        expected = torch.cat([backbone.forward_features(image), backbone(image)], 1).numpy()
    np.testing.assert_allclose(store.features[store.rows(names)], expected, rtol=1e-3, atol=1e-4)
    assert store.metadata["columns"] == {"features": backbone.num_features, "outputs": 10}


def test_a_second_call_extracts_nothing(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = make_extractor(aff_wild2, tiny_backbone, tmp_path)
    extractor.store("train", names_of(aff_wild2))
    monkeypatch.setattr(FeatureExtractor, "_extract", lambda *args: pytest.fail("extracted again"))
    again = make_extractor(aff_wild2, tiny_backbone, tmp_path)
    again.features.batch_size = 11
    assert len(again.store("train", names_of(aff_wild2)).names) == len(names_of(aff_wild2))


def test_features_of_other_precisions_are_kept_apart(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    names = names_of(aff_wild2)
    coarse = make_extractor(aff_wild2, tiny_backbone, tmp_path, precision="bf16-mixed").store("train", names)
    assert coarse.metadata["sources"]["precision"] == "bf16-mixed"
    fine = make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    assert fine.metadata["sources"]["precision"] == "32-true"
    by_engine = make_extractor(aff_wild2, tiny_backbone, tmp_path)
    by_engine.features.precision = "bfloat16"
    assert by_engine.store("train", names).metadata["sources"]["precision"] == "bfloat16"
    assert len(list((tmp_path / "cache").rglob("features.npy"))) == 3


def test_a_backbone_trained_on_drawn_faces_gives_a_warning(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, spec = load_backbone(tiny_backbone)
    save_backbone(tiny_backbone, backbone, replace(spec, notes={"recipe": "demo"}))
    make_extractor(aff_wild2, tiny_backbone, tmp_path)
    assert "has learnt from drawn faces only" in " ".join(capsys.readouterr().err.split())


def test_a_changed_image_or_backbone_rebuilds(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    names = names_of(aff_wild2)
    first = np.array(make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names).features)
    image = image_folder(aff_wild2) / names[4]
    image.write_bytes((image_folder(aff_wild2) / names[60]).read_bytes())
    second = np.array(make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names).features)
    changed = np.flatnonzero((first != second).any(1))
    assert changed.tolist() == [4]
    assert len(list((tmp_path / "cache").rglob("features.npy"))) == 1


def _extract_slowly(root: Path, backbone: Path, folder: Path) -> None:
    write = FeaturePredictionWriter.write_on_batch_end

    def slow(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        time.sleep(0.1)

    FeaturePredictionWriter.write_on_batch_end = slow  # type: ignore[method-assign, assignment]
    make_extractor(root, backbone, folder).store("train", names_of(root))


def test_killed_in_the_middle_and_started_again(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "killed"
    child = multiprocessing.get_context("fork").Process(target=_extract_slowly, args=(aff_wild2, tiny_backbone, folder))
    child.start()
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("0*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    done = len(list(folder.rglob("0*.npy")))
    assert 3 <= done < 15
    assert not list(folder.rglob("features.npy"))
    make_extractor(aff_wild2, tiny_backbone, folder).store("train", names_of(aff_wild2))
    assert content(folder) == whole
    assert not list(folder.rglob("*.partial"))


def test_two_runs_at_once_extract_once(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_extract_slowly, args=(aff_wild2, tiny_backbone, tmp_path))
    child.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("0*.npy")) and time.monotonic() < deadline:
        time.sleep(0.02)
    monkeypatch.setattr(FeatureExtractor, "_extract", lambda *args: pytest.fail("extracted beside the other"))
    store = make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names_of(aff_wild2))
    child.join(60)
    assert child.exitcode == 0
    assert store.names == names_of(aff_wild2)


def _hear(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    assert _broadcast(rank == 0)
    assert not _broadcast(rank == 1)
    Path(folder, f"{rank}").touch()
    torch.distributed.destroy_process_group()


def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_hear, (str(tmp_path),), nprocs=2, start_method="fork")
    assert {path.name for path in tmp_path.iterdir()} >= {"0", "1"}


def test_a_run_of_several_processes_does_not_wait_for_another(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    extractor = make_extractor(aff_wild2, tiny_backbone, tmp_path, strategy="ddp_fork", devices="2")
    path = extractor._store_path("train")
    with (
        exclusive_lock(path.with_name(".train.lock")),
        pytest.raises(FeatureStoreError, match="another run is writ"),
    ):
        extractor.store("train", names_of(aff_wild2))


def test_two_processes_give_the_same_store(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "shared"
    extractor = make_extractor(aff_wild2, tiny_backbone, folder, strategy="ddp_fork", devices="2")
    extractor.store("train", names_of(aff_wild2))
    assert content(folder) == whole


def test_missing_and_truncated_images_are_listed_and_limited(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    names = names_of(aff_wild2)
    folder = image_folder(aff_wild2)
    (folder / names[2]).unlink()
    with pytest.raises(UnreadableImageError, match=rf"1 of {len(names)} images.*\n{names[2]}: no such file"):
        make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    (folder / names[9]).write_bytes((folder / names[9]).read_bytes()[:300])
    with pytest.raises(UnreadableImageError, match=r"2 of [\s\S]*data\.max_missing=2"):
        make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=1).store("train", names)
    extractor = make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=2)
    store = extractor.store("train", names)
    assert set(store.missing) == {names[2], names[9]}
    assert np.flatnonzero(np.isnan(store.features).all(1)).tolist() == [2, 9]
    listed = (extractor.report_folder / "missing_train.txt").read_text().splitlines()
    assert len(listed) == 2


def test_stores_of_other_backbones_are_kept_apart(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    from affect.networks.backbone_file import save_backbone

    names = names_of(aff_wild2)
    make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    backbone, spec = load_backbone(tiny_backbone)
    with torch.no_grad():
        backbone.classifier.bias += 1  # type: ignore[operator, union-attr]
    save_backbone(tmp_path / "other.safetensors", backbone, spec)
    make_extractor(aff_wild2, tmp_path / "other.safetensors", tmp_path).store("train", names)
    stores = [FeatureStore.open(path.parent) for path in (tmp_path / "cache").rglob("features.npy")]
    assert len(stores) == 2
    np.testing.assert_allclose(np.abs(stores[0].features[:, -10:] - stores[1].features[:, -10:]), 1, rtol=1e-4)


def test_a_set_that_is_not_unpacked_is_no_reason_to_allow_missing_images(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    names = names_of(aff_wild2)
    for name in names[len(names) // 2 - 1 :]:
        (image_folder(aff_wild2) / name).unlink()
    with pytest.raises(UnreadableImageError, match=r"Is the set unpacked in .*right folder\?$") as error:
        make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    assert "max_missing" not in str(error.value)
