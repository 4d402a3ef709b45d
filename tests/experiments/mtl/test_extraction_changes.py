"""Images that change while features are extracted never leave a trace in the store."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.errors import UserError
from affect.storage.feature_store import FeatureStore, FeatureStoreError
from affect.storage.feature_store_writer import lock_path
from affect.storage.locks import exclusive_lock
from callbacks.feature_prediction_writer import FeaturePredictionWriter
from datamodules.aff_wild2 import image_folder, load_annotations
from datamodules.images.dataset import InaccessibleImageError
from experiments.mtl.config import DataConfig, FeaturesConfig, MtlConfig
from experiments.mtl.extract_features import FeatureExtractor
from experiments.runtime.config.load import TrainerConfig, WandbConfig
from experiments.runtime.run import Run

CHUNK = 7


def make_extractor(root: Path, backbone: Path, folder: Path, max_missing: int = 0) -> FeatureExtractor:
    config = MtlConfig(
        recipe="test", output_dir=str(folder / "runs"), backbone=str(backbone),
        data=DataConfig(root=str(root), max_missing=max_missing, num_workers=0),
        features=FeaturesConfig(cache_dir=str(folder / "cache"), batch_size=CHUNK, engine="torch"),
        trainer=TrainerConfig(accelerator="cpu", progress_bar=False), wandb=WandbConfig(mode="disabled"),
    )  # fmt: skip
    folder = Run("mtl", config, root).folder
    return FeatureExtractor(config.backbone, config.data, config.features, config.trainer, folder)


def names_of(root: Path) -> list[str]:
    return load_annotations(root, "train").name


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the only store below a folder."""
    (path,) = folder.rglob("metadata.json")
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


@pytest.fixture
def after_chunk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run functions once, after given chunks are written."""

    def plan(**actions: Callable[[], object]) -> None:
        write = FeaturePredictionWriter.write_on_batch_end

        def write_and_act(self: FeaturePredictionWriter, *arguments: object) -> None:
            write(self, *arguments)  # type: ignore[arg-type]
            if action := actions.pop(f"chunk{arguments[4]['chunk']}", None):  # type: ignore[index]
                action()

        monkeypatch.setattr(FeaturePredictionWriter, "write_on_batch_end", write_and_act)

    return plan


def swap(first: Path, second: Path) -> None:
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def test_a_video_that_is_moved_away_and_back_stops_the_run_and_is_not_recorded_as_missing(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, after_chunk: Callable[..., None]
) -> None:
    names = names_of(aff_wild2)
    make_extractor(aff_wild2, tiny_backbone, tmp_path / "whole").store("train", names)
    video = (image_folder(aff_wild2) / names[5 * CHUNK]).parent
    away = video.with_name("away")
    after_chunk(chunk1=lambda: video.rename(away))
    with pytest.raises(InaccessibleImageError, match="but it existed when this run began"):
        make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=1000).store("train", names)
    away.rename(video)
    store = make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    assert not store.missing
    assert content(tmp_path / "cache") == content(tmp_path / "whole")


def test_files_that_are_swapped_and_swapped_back_are_read_as_they_were(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, after_chunk: Callable[..., None]
) -> None:
    names = names_of(aff_wild2)
    make_extractor(aff_wild2, tiny_backbone, tmp_path / "whole").store("train", names)
    first, second = (image_folder(aff_wild2) / names[row] for row in (4 * CHUNK, 9 * CHUNK))
    after_chunk(chunk1=lambda: swap(first, second))
    with pytest.raises(InaccessibleImageError, match="changed since this run began"):
        make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    swap(first, second)
    make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    assert content(tmp_path / "cache") == content(tmp_path / "whole")


@pytest.mark.parametrize("restored", [True, False])
def test_a_file_that_changes_after_it_was_read_is_extracted_anew(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, after_chunk: Callable[..., None], restored: bool
) -> None:
    names = names_of(aff_wild2)
    make_extractor(aff_wild2, tiny_backbone, tmp_path / "whole").store("train", names)
    image = image_folder(aff_wild2) / names[3]
    before, state = image.read_bytes(), image.stat()

    def overwrite() -> None:
        image.write_bytes((image_folder(aff_wild2) / names[60]).read_bytes())

    after_chunk(chunk2=overwrite)
    with pytest.raises(FeatureStoreError, match=rf"images changed while .*: 1, for example {names[3]}"):
        make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    (partial,) = (tmp_path / "cache").rglob("train.partial")
    assert not (partial / "000000.npy").exists()
    assert (partial / "000001.npy").exists()
    if restored:
        image.write_bytes(before)
        os.utime(image, ns=(state.st_atime_ns, state.st_mtime_ns))
    store = make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    whole = FeatureStore.open(next((tmp_path / "whole").rglob("features.npy")).parent)
    differing = np.flatnonzero((store.features != whole.features).any(1)).tolist()
    assert differing == ([] if restored else [3])


def test_a_store_of_images_that_have_come_back_is_made_anew(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    names = names_of(aff_wild2)
    image = image_folder(aff_wild2) / names[2]
    before, state = image.read_bytes(), image.stat()
    image.unlink()
    lacking = make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=1).store("train", names)
    assert set(lacking.missing) == {names[2]}
    image.write_bytes(before)
    os.utime(image, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=1).store("train", names).missing


def test_a_store_that_took_present_images_for_missing_is_made_anew(
    aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As an earlier version left it: the digest is of files that were there before and after, but not while reading.
    names = names_of(aff_wild2)
    make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    (metadata,) = (tmp_path / "cache").rglob("metadata.json")
    reason = f'"missing": {{"{names[2]}": "No such file or directory"}}'
    metadata.write_text(metadata.read_text().replace('"missing": {}', reason))
    store = make_extractor(aff_wild2, tiny_backbone, tmp_path, max_missing=1).store("train", names)
    assert not store.missing
    assert "lacks 1 images that are there" in " ".join(capsys.readouterr().out.split())


def test_chunks_of_stopped_runs_do_not_stay_for_good(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    names = names_of(aff_wild2)
    extractor = make_extractor(aff_wild2, tiny_backbone, tmp_path)
    path = extractor._store_path("train")
    extractor.store("train", names)
    week = 8 * 86400
    folders = {}
    for name, age in {
        "../old/train.partial": week, "../old/train.merging": week, "../used/val.partial": week,
        "../new/train.partial": 0, "train.partial": 0, "train.merging": 0,
    }.items():  # fmt: skip
        folder = path.parent / name
        folder.mkdir(parents=True)
        (folder / "000000.npy").write_bytes(b"rows")
        os.utime(folder, (time.time() - age,) * 2)
        folders[name] = folder
    with exclusive_lock(lock_path(path.parent / "../used/val")):
        make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    left = [name for name, folder in folders.items() if folder.exists()]
    assert left == ["../used/val.partial", "../new/train.partial"]
    assert path.is_dir()


@pytest.mark.parametrize("name", ["metadata.json", "names.txt", "features.npy"])
def test_a_damaged_store_is_made_anew(aff_wild2: Path, tiny_backbone: Path, tmp_path: Path, name: str) -> None:
    names = names_of(aff_wild2)[:20]
    make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    whole = content(tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob(name)
    original = file.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.integers(len(original), size=60):
        data = bytearray(original)
        data[position] ^= 1 << generator.integers(8)
        file.write_bytes(data[: position + 1] if position % 3 == 0 else data)
        try:
            store = FeatureStore.open(file.parent)
        except UserError:
            continue
        assert name == "metadata.json", "no damage to names or features goes unnoticed"
        assert store.names == names
    make_extractor(aff_wild2, tiny_backbone, tmp_path).store("train", names)
    assert content(tmp_path / "cache") == whole
