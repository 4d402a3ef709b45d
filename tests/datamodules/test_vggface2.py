import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.readers.annotation_errors import AnnotationError
from datamodules.vggface2 import VGGFace2DataModule

LOADER: dict[str, Any] = {
    "image_size": 8,
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "batch_size": 4,
    "num_workers": 0,
}


def draw(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (20, 10)) -> None:
    """Write pictures of a width and height."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.full((size[1], size[0], 3), number * 5, np.uint8)
        assert cv2.imwrite(str(folder / f"{number:04d}.jpg"), pixels)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two people with three training pictures and one for validation; landmarks for the first, partly."""
    root = tmp_path / "people"
    for person in ("ada", "bob"):
        draw(root / "train" / person, 3)
        draw(root / "val" / person, 1, first=3)
    (root / "train" / "ada" / "landmarks.csv").write_text("file,x0,y0,x1,y1\n0000.jpg,0,0,20,10\n0002.jpg,10,5,5,7.5\n")
    return root


def build(root: Path, tmp_path: Path, **changes: Any) -> VGGFace2DataModule:
    data = VGGFace2DataModule(root=str(root), cache_dir=str(tmp_path / "cache"), **(LOADER | changes))
    data.setup()
    return data


def test_people_are_labels_and_landmarks_are_scaled_by_the_image(tree: Path, tmp_path: Path):
    data = build(tree, tmp_path)
    assert data.people == ["ada", "bob"]
    assert data.num_landmarks == 2
    samples = [data.datasets["train"][index] for index in range(6)]
    assert [sample["person"] for sample in samples] == [0, 0, 0, 1, 1, 1]
    assert samples[0]["landmarks"].tolist() == [-1, -1, 1, 1]
    assert samples[2]["landmarks"].tolist() == [0, 0, -0.5, 0.5]
    assert all(np.isnan(samples[index]["landmarks"]).all() for index in (1, 3, 4, 5))
    assert samples[4]["name"] == "train/bob/0001.jpg"
    assert [data.datasets["val"][index]["person"] for index in range(2)] == [0, 1]
    batch = next(iter(data.val_dataloader()))
    assert batch["person"].dtype == torch.int64
    assert batch["landmarks"].dtype == torch.float32
    assert batch["landmarks"].shape == (2, 4)


def test_without_splits_every_twentieth_picture_is_held_out(tmp_path: Path):
    for person, count in (("ada", 41), ("bob", 20), ("cleo", 3)):
        draw(tmp_path / "flat" / person, count, size=(4, 4))
    data = build(tmp_path / "flat", tmp_path)
    names = data.datasets["val"].names.tolist()
    assert names == ["ada/0019.jpg", "ada/0039.jpg", "bob/0019.jpg"]
    assert len(data.datasets["train"]) == 61
    assert not set(names) & set(data.datasets["train"].names.tolist())
    assert data.num_landmarks == 0
    assert data.datasets["train"][0]["landmarks"].shape == (0,)


def test_vggface2s_own_layout_holds_images_of_train_out_and_ignores_test(tmp_path: Path):
    for folder, count in (("train/n000002", 40), ("train/n000003", 20), ("test/n000001", 20)):
        draw(tmp_path / "vggface2" / folder, count, size=(4, 4))
    data = build(tmp_path / "vggface2", tmp_path)
    assert data.people == ["n000002", "n000003"]
    assert data.datasets["val"].names.tolist() == [
        "train/n000002/0019.jpg", "train/n000002/0039.jpg", "train/n000003/0019.jpg",
    ]  # fmt: skip
    assert len(data.datasets["train"]) == 57


def test_a_validation_folder_that_comes_later_is_noticed(tree: Path, tmp_path: Path):
    (tree / "val").rename(tree / "aside")
    draw(tree / "train" / "bob", 21)
    (tree / "train" / "bob" / "0003.jpg").unlink()  # the picture of val
    assert build(tree, tmp_path).datasets["val"].names.tolist() == ["train/bob/0020.jpg"]
    (tree / "aside").rename(tree / "val")
    assert build(tree, tmp_path).datasets["val"].names.tolist() == ["val/ada/0003.jpg", "val/bob/0003.jpg"]


def test_landmarks_of_a_photo_stored_on_its_side_are_turned_with_it(tree: Path, tmp_path: Path):
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned clockwise by 90 degrees
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, 10:] = 255
    Image.fromarray(pixels).save(tree / "train" / "ada" / "0000.jpg", exif=turned)
    sample = build(tree, tmp_path).datasets["train"][0]
    assert sample["landmarks"].tolist() == [1, -1, -1, 1], "top right, bottom left"
    assert sample["image"][:3].max() < 20
    assert sample["image"][5:].min() > 235


def test_hidden_files_and_folders_are_no_data_and_others_are_reported_in_every_run(tree: Path, tmp_path: Path):
    expected = build(tree, tmp_path).datasets["train"].paths.tolist()
    ada = tree / "train" / "ada"
    for name in ("._0000.jpg", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (ada / name).write_bytes(b"x")
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        draw(tree / "train" / folder, 1)
    draw(ada / ".ipynb_checkpoints", 1)
    with warnings.catch_warnings(action="error"):
        data = build(tree, tmp_path)
    assert data.people == ["ada", "bob"]
    assert data.datasets["train"].paths.tolist() == expected
    (ada / "album.jpg").mkdir()
    (ada / "clip.mp4").write_bytes(b"x")
    draw(tree / "train", 1)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"3 entries are not read.*: train/0000.jpg, train/ada/album.jpg, tr"):
            data = build(tree, tmp_path)
    assert data.datasets["train"].paths.tolist() == expected


def test_a_new_picture_is_noticed(tree: Path, tmp_path: Path):
    assert len(build(tree, tmp_path).datasets["train"]) == 6
    draw(tree / "train" / "bob", 1, first=9)
    assert len(build(tree, tmp_path).datasets["train"]) == 7


LANDMARK_FILES = {
    "another header": ("name,x0,y0\n0000.jpg,1,2\n", "expected the header file,x0,y0"),
    "half a point": ("file,x0,y0,x1\n0000.jpg,1,2,3\n", "expected the header file,x0,y0"),
    "no point": ("file\n0000.jpg\n", "expected the header file,x0,y0"),
    "empty": ("", "expected the header file,x0,y0"),
    "too many values": (
        "file,x0,y0\n0000.jpg,1,2\n0001.jpg,1,2,3\n",
        "landmarks.csv:3: 4 fields, expected 3",
    ),
    "stray quotation mark": (
        'file,x0,y0\n"0000.jpg,1,2\n0001.jpg,1,2\n',
        "landmarks.csv:2: holds a quotation",
    ),
    "NUL byte": ("file,x0,y0\n0000.jpg,1,\0\n", "landmarks.csv:2: holds a NUL byte"),
    "lines after a blank one": (
        "file,x0,y0\n\n0000.jpg,1,x\n",
        "landmarks.csv:3: holds something that is not",
    ),
    "unknown picture": (
        "file,x0,y0\n0000.jpg,1,2\n0009.jpg,1,2\n",
        "landmarks.csv:3: names an image that is not",
    ),
    "picture elsewhere": ("file,x0,y0\n../bob/0000.jpg,1,2\n", "landmarks.csv:2: names an image that is not"),
    "twice": ("file,x0,y0\n0000.jpg,1,2\n0000.jpg,1,2\n", "landmarks.csv:3: names an image a second time"),
    "word": ("file,x0,y0\n0000.jpg,1,left\n", "landmarks.csv:2: holds something that is not a number"),
    "infinite": ("file,x0,y0\n0000.jpg,1,inf\n", "landmarks.csv:2: holds something that is not a number"),
}


@pytest.mark.parametrize("kind", LANDMARK_FILES)
def test_each_kind_of_malformed_landmark_file_is_named(tree: Path, tmp_path: Path, kind: str):
    content, reason = LANDMARK_FILES[kind]
    (tree / "train" / "bob" / "landmarks.csv").write_text(content)
    with pytest.raises(AnnotationError) as caught:
        build(tree, tmp_path)
    assert "train/bob/landmarks.csv" in str(caught.value)
    assert reason in str(caught.value)


def test_landmark_files_of_other_numbers_of_points_are_named(tree: Path, tmp_path: Path):
    (tree / "val" / "bob" / "landmarks.csv").write_text("file,x0,y0\n0003.jpg,1,2\n")
    with pytest.raises(AnnotationError, match=r"val/bob/landmarks\.csv: 1 points a face, but 2 in .*train/ada"):
        build(tree, tmp_path)


def test_landmarks_of_a_broken_picture_name_it(tree: Path, tmp_path: Path):
    (tree / "train" / "ada" / "0002.jpg").write_bytes(b"no picture")
    with pytest.raises(AnnotationError, match=r"ada/0002\.jpg has landmarks but"):
        build(tree, tmp_path)


def test_trees_that_cannot_be_used_are_named(tree: Path, tmp_path: Path):
    with pytest.raises(AnnotationError, match=r"no folder .*nowhere"):
        build(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="holds no folder of images"):
        build(tmp_path / "empty", tmp_path)
    draw(tree / "val" / "stranger", 1)
    with pytest.raises(AnnotationError, match=r"people that train does not, such as .'stranger'.*rename"):
        build(tree, tmp_path)
    draw(tmp_path / "few" / "ada", 3)
    with pytest.raises(AnnotationError, match="no val image"):
        build(tmp_path / "few", tmp_path)


@pytest.mark.timeout(20)
def test_a_named_pipe_in_place_of_landmarks_is_named(tree: Path, tmp_path: Path):
    os.mkfifo(tree / "train" / "bob" / "landmarks.csv")
    with pytest.raises(AnnotationError, match=r"bob/landmarks\.csv: not a regular file but a named pipe"):
        build(tree, tmp_path)


def test_validation_pictures_that_train_holds_too_give_a_warning(tree: Path, tmp_path: Path):
    draw(tree / "val" / "bob", 1, first=0)
    with pytest.warns(UserWarning, match=r"1 images are in both .*train/bob/0000\.jpg and .*val/bob/0000"):
        build(tree, tmp_path)
