import csv

import cv2
import numpy as np
import pytest

from demo_data.renderer.identity import generator
from demo_data.vggface2 import LANDMARK_FILE, random_action_units, write_vggface2

ARGUMENTS = {"people": 5, "images_per_person": 3, "val_images_per_person": 2, "size": 48}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces") / "set"
    assert write_vggface2(root, **ARGUMENTS, workers=1)
    return root


def test_one_folder_per_person_with_the_same_people_in_both_parts(root):
    people = {split: sorted(path.name for path in (root / split).iterdir()) for split in ("train", "val")}
    assert people["train"] == people["val"] == [f"p{number:05d}" for number in range(5)]
    for split, count in (("train", 3), ("val", 2)):
        for folder in (root / split).iterdir():
            pictures = sorted(folder.glob("*.jpg"))
            assert len(pictures) == count
            assert cv2.imread(str(pictures[0])).shape == (48, 48, 3)


def test_landmarks_stand_beside_the_pictures_they_belong_to(root):
    for folder in root.glob("*/p*"):
        with (folder / LANDMARK_FILE).open() as file:
            header, *rows = csv.reader(file)
        assert header == ["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]
        assert [row[0] for row in rows] == sorted(path.name for path in folder.glob("*.jpg"))
        points = np.array([row[1:] for row in rows], dtype=float).reshape(-1, 68, 2)
        centres = points.mean(axis=1)
        assert (centres > 8).all()
        assert (centres < 40).all()


def test_train_and_val_hold_different_pictures(root, digest):
    digests = [value for name, value in digest(root).items() if name.endswith(".jpg")]
    assert len(set(digests)) == len(digests) == 25


def test_same_seed_same_bytes_for_any_number_of_workers(root, tmp_path, digest):
    write_vggface2(tmp_path / "again", **ARGUMENTS, workers=2)
    assert digest(tmp_path / "again") == digest(root)


def test_another_seed_draws_other_faces(root, tmp_path, digest):
    write_vggface2(tmp_path / "other", **ARGUMENTS, seed=1, workers=1)
    picture = "train/p00000/0000.jpg"
    assert digest(tmp_path / "other")[picture] != digest(root)[picture]


def test_a_finished_set_is_left_alone(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert not write_vggface2(root, **ARGUMENTS)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_units_are_drawn_independently_of_one_another():
    active = np.stack([random_action_units(generator("faces", 0, 0, i)).max(axis=0) for i in range(2000)]) > 0.1
    correlation = np.corrcoef(active.T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.12
