import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.readers.annotation_errors import AnnotationError
from datamodules.readers.class_folders import check_pattern, person_by_name, read_class_folders
from tests.conftest import write_jpeg


@pytest.fixture
def folder(tmp_path: Path):
    def draw(*names: str) -> Path:
        for name in names:
            write_jpeg(tmp_path / "set" / name, np.zeros((8, 8, 3), np.uint8))
        return tmp_path / "set"

    return draw


def rows(root: Path) -> list[tuple]:
    return list(read_class_folders(root).itertuples(index=False, name=None))


def test_classes_below_the_root_and_below_splits(folder) -> None:
    root = folder("sad/b.jpg", "happy/anna/a.jpg")
    assert rows(root) == [("", "happy/anna/a.jpg", "happy", "anna"), ("", "sad/b.jpg", "sad", "")]
    for name in ("train", "Valid", "TEST"):
        folder(f"../{name}_set/{name}/1/x.jpg", f"../{name}_set/train/2/y.jpg")
        split = {"train": "train", "Valid": "val", "TEST": "test"}[name]
        assert (split, f"{name}/1/x.jpg", "1", "") in rows(root.parent / f"{name}_set")


def test_two_folders_of_one_split_are_refused(folder) -> None:
    root = folder("train/a/1.jpg", "val/a/2.jpg", "Validation/a/3.jpg")
    with pytest.raises(AnnotationError, match="the folders Validation, val are of one split"):
        read_class_folders(root)


def test_what_is_not_read_is_named(folder) -> None:
    root = folder(
        "train/a/1.jpg", "train/.hidden/2.jpg", "train/a/._3.jpg", "train/loose.jpg", "extra/a/4.jpg", "5.jpg"
    )
    (root / "train" / "a" / "notes.txt").write_text("x")
    (root / "train" / "empty").mkdir()
    (root / "train" / "a" / "back").symlink_to(root)
    (root / "train" / "a" / "dead.jpg").symlink_to(root / "nowhere")
    with pytest.warns(UserWarning, match="are not") as caught:
        found = rows(root)
    assert [row[1] for row in found] == ["train/a/1.jpg", "train/a/dead.jpg"]  # which is reported as missing
    texts = " | ".join(str(warning.message) for warning in caught)
    for part in (
        "1 entries are not read", "train/a/notes.txt", "3 images are not read", "5.jpg, extra/a/4.jpg, train/loose.jpg",
        "1 links are not followed", "train/a/back", "1 folders hold no image and are no class: train/empty",
    ):  # fmt: skip
        assert part in texts
    assert "hidden" not in texts


def test_links_to_images_and_folders_are_followed(folder, tmp_path: Path) -> None:
    root = folder("a/1.jpg", "../elsewhere/2.jpg")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    assert [row[1] for row in rows(root)] == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no images in"), (["1.jpg"], "holds images, such as 1.jpg, but none in a folder of a class")],
)
def test_a_folder_without_classes_is_refused(folder, names: list[str], message: str) -> None:
    root = folder(*names, *([] if names else ["../other/1.jpg"]))
    root.mkdir(exist_ok=True)
    with pytest.raises(AnnotationError, match=message):
        read_class_folders(root)


def test_names_that_cannot_be_printed_are_refused(folder) -> None:
    root = folder("a/1.jpg")
    os.rename(os.fsencode(root / "a/1.jpg"), os.fsencode(root / "a") + b"/\xff.jpg")  # noqa: PTH104
    with pytest.raises(
        AnnotationError, match=r"1 names with characters that cannot be printed, such as 'a/\\udcff.jpg'"
    ):
        read_class_folders(root)


def test_people_are_found_by_the_name() -> None:
    names = pd.Series(["sad/anna_01.jpg", "sad/x/bob_2.jpg"])
    assert person_by_name(names, r"(\w+)_\d", "set").tolist() == ["anna", "bob"]
    assert person_by_name(names, r"[a-z]+", "set").tolist() == ["anna", "bob"]
    with pytest.raises(AnnotationError, match=r"finds no person in 1 of 2 file names, such as sad/x/bob_2.jpg"):
        person_by_name(names, "(a.*)_", "set")
    assert check_pattern("(") is not None
    assert check_pattern("(a)") is None
