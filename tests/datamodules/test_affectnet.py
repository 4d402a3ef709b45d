import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import datamodules.affectnet
from datamodules.affectnet import AffectNetDataModule
from datamodules.readers.affectnet import read_annotations
from datamodules.readers.annotation_errors import AnnotationError

LOADER: dict[str, Any] = {
    "image_size": 16, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "batch_size": 8, "num_workers": 0,
}  # fmt: skip


def build(root: Path, tmp_path: Path, **changes: Any) -> AffectNetDataModule:
    data = AffectNetDataModule(root=str(root), cache_dir=str(tmp_path / "cache"), **(LOADER | changes))
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("layout", ["csv", "npy"])
def test_samples_are_the_cropped_faces_with_their_labels(
    layout: str, affectnet_csv: Path, affectnet_npy: Path, tmp_path: Path
):
    root = {"csv": affectnet_csv, "npy": affectnet_npy}[layout]
    data = build(root, tmp_path)
    table = read_annotations(root, layout)
    for split, count in (("train", 40), ("val", 16)):
        rows = table[table["split"] == split].reset_index(drop=True)
        assert len(data.datasets[split]) == count == len(rows)
        for index in (0, 1, count - 1):
            sample = data.datasets[split][index]
            pixels = cv2.imread(str(root / rows["path"][index]), cv2.IMREAD_COLOR)[:, :, ::-1]
            if layout == "csv":
                pixels = pixels[4:28, 4:28]
            expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(sample["image"].astype(int), expected, atol=1)
            assert sample["name"] == rows["path"][index]
            assert sample["expression"] == rows["expression"][index]
            wanted = rows.loc[index, ["valence", "arousal"]].to_numpy(np.float32)
            np.testing.assert_array_equal(sample["valence_arousal"], wanted)


def test_batches_keep_the_contract(affectnet_csv: Path, tmp_path: Path):
    data = build(affectnet_csv, tmp_path)
    batches = list(data.val_dataloader())
    assert [len(batch["name"]) for batch in batches] == [8, 8]
    for batch in batches:
        assert set(batch) == {"image", "expression", "valence_arousal", "name"}
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].shape == (8, 3, 16, 16)
        assert batch["expression"].dtype == torch.int64
        assert batch["valence_arousal"].dtype == torch.float32
        assert all(isinstance(name, str) for name in batch["name"])
    assert torch.cat([batch["valence_arousal"] for batch in batches]).isnan().sum(0).tolist() == [1, 1]


def test_classes_are_counted_in_label_order(affectnet_csv: Path, tmp_path: Path):
    lines = (affectnet_csv / "training.csv").read_text().splitlines()
    lines += ["0/0.jpg,4,4,24,24,1;2,6,0,0"] * 3  # code 6 is Anger, label 0
    (affectnet_csv / "training.csv").write_text("\n".join(lines))
    data = build(affectnet_csv, tmp_path)
    assert data.class_counts() == [8, 5, 5, 5, 5, 5, 5, 5]
    assert data.expressions[0] == "Anger"


def test_the_cache_is_reused_until_a_source_changes(
    affectnet_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def counted(*arguments: Any) -> pd.DataFrame:
        calls.append(arguments)
        return read_annotations(*arguments)

    monkeypatch.setattr(datamodules.affectnet, "read_annotations", counted)
    first = build(affectnet_csv, tmp_path)
    second = build(affectnet_csv, tmp_path)
    assert len(calls) == 1
    assert first.fingerprint == second.fingerprint
    pd.testing.assert_frame_equal(first.index, second.index)

    path = affectnet_csv / "training.csv"
    path.write_text(path.read_text().replace(",0,0.", ",1,0."))
    third = build(affectnet_csv, tmp_path)
    assert len(calls) == 2
    assert third.fingerprint != first.fingerprint
    assert not third.index.equals(first.index)


def test_a_mended_file_is_read_although_the_broken_one_failed(affectnet_csv: Path, tmp_path: Path):
    path = affectnet_csv / "training.csv"
    whole = path.read_text()
    path.write_text(whole + "0/0.jpg,4,4,24,24,1;2,77,0,0\n")
    with pytest.raises(AnnotationError, match="77"):
        build(affectnet_csv, tmp_path)
    path.write_text(whole)
    assert len(build(affectnet_csv, tmp_path).datasets["train"]) == 40


def test_a_split_without_usable_faces_is_named(affectnet_csv: Path, tmp_path: Path):
    path = affectnet_csv / "validation.csv"
    path.write_text("0/0.jpg,4,4,24,24,1;2,10,-2,-2\n")
    with pytest.raises(AnnotationError, match="no usable face in the val part"):
        build(affectnet_csv, tmp_path)


def test_an_image_in_both_splits_is_refused(affectnet_csv: Path, tmp_path: Path):
    line = (affectnet_csv / "validation.csv").read_text().splitlines()[2]
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write(line.replace("/", "\\").replace(",4,4,24,24,", ",4,4,24,23,") + "\n")
    for _ in ("read", "cached"):
        with pytest.raises(AnnotationError, match=rf"1 images are in both .*/{line.split(',')[0]}; .*take them"):
            build(affectnet_csv, tmp_path)


def test_faces_listed_twice_give_a_warning_and_two_faces_of_a_photo_none(affectnet_csv: Path, tmp_path: Path):
    path = affectnet_csv / "training.csv"
    lines = path.read_text().splitlines()
    other_label = lines[3].replace("1;2;3,2,", "1;2;3,6,")
    assert other_label != lines[3]
    path.write_text("\n".join([*lines, lines[5], other_label, lines[6].replace(",24,24,", ",24,23,")]))
    with pytest.warns(UserWarning, match=r"\(train\): 2 images .* labels of 1 contradict each other, such as"):
        build(affectnet_csv, tmp_path)


def test_copies_in_both_parts_of_the_npy_layout_give_a_warning(affectnet_npy: Path, tmp_path: Path):
    train, val = (affectnet_npy / f"{split}_set" for split in ("train", "val"))
    for kind in ("exp", "val", "aro"):
        shutil.copy(val / "annotations" / f"50_{kind}.npy", train / "annotations")
    shutil.copy(val / "images" / "51.jpg", train / "images" / "50.jpg")
    assert len(build(affectnet_npy, tmp_path).datasets["train"]) == 41, "another image of the same id"
    shutil.copy(val / "images" / "50.jpg", train / "images")
    with pytest.warns(UserWarning, match=r"train_set/images/50\.jpg and .*val_set/images/50\.jpg"):
        build(affectnet_npy, tmp_path)


def test_the_official_set_is_recognised_by_its_sizes(tmp_path: Path):
    loader = {"image_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_size": 8, "num_workers": 0}
    data = AffectNetDataModule(str(tmp_path), **loader)
    data.datasets = {"train": range(287_651), "val": range(4_000)}  # type: ignore[dict-item]
    assert data.is_official
    data.datasets = {"train": range(287_651), "val": range(3_999)}  # type: ignore[dict-item]
    assert not data.is_official
