"""Each layout, broken in known ways: the report lists exactly these."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import InvalidOptionError, MissingFileError
from experiments.check_data.sets import list_set
from tests.experiments.check_data.conftest import Check

IMAGES = "Manually_Annotated_Images"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def append(path: Path, *lines: str) -> int:
    """Append lines, and return the number of the first."""
    text = path.read_text().rstrip("\n")
    path.write_text("\n".join([text, *lines]) + "\n")
    return text.count("\n") + 2


def test_sound_sets_have_no_problem(affectnet_csv: Path, affectnet_npy: Path, synthetic: Path, check: Check) -> None:
    assert check(affectnet_csv) == set()
    assert check(affectnet_npy) == set()
    assert check(synthetic, look_alike=0.99) == set()


def test_a_broken_set_of_affectnets_csv_layout(affectnet_csv: Path, check: Check) -> None:
    images = affectnet_csv / IMAGES
    first = append(
        affectnet_csv / "training.csv",
        "1/1.jpg,4,4,24,24,1;2,11,0.5,0.5",
        "1/1.jpg,4,4,0.8,0.8,1;2,1,0.5,0.5",
        '1/1.jpg,4,4,24,24,"1;2,1,0.5,0.5',
        "1/1.jpg,4,4",
        "2/2.jpg,100,4,24,24,1;2,1,0.5,0.5",  # outside
        "2/2.jpg,20,4,28,24,1;2,1,0.5,0.5",  # mostly outside
        "2/2.jpg,4,4,8,8,1;2,1,0.5,0.5",  # tiny
        "1/4.jpg,4,4,24,24,1;2,7,0.5,0.5",  # again, with another expression
        "0/gone.jpg,4,4,24,24,1;2,1,0.5,0.5",
        "1/new.jpg,4,4,24,24,1;2,1,0.5,0.5",
    )
    append(affectnet_csv / "validation.csv", "2/5.jpg,4,4,24,24,1;2,5,0.5,0.5")
    truncate(images / "0/6.jpg")
    shutil.copy(images / "2/44.jpg", images / "1/new.jpg")
    (images / "._x.jpg").touch()
    assert check(affectnet_csv) == {
        ("stops", "not a code 0 to 10: expression is ...", "train", f"training.csv:{first}"),
        *(
            ("stops", f"less than 2 pixels (face boxes are in pixels, not fractions of the image): face_{side} is ...",
             "train", f"training.csv:{first + 1}") for side in ("width", "height")
        ),
        ("stops", "holds a quotation mark; quoted fields are not supported: remove it", "train",
         f"training.csv:{first + 2}"),
        ("stops", "3 fields, expected 9", "train", f"training.csv:{first + 3}"),
        ("stops", "a face box is outside the image", "train", f"{IMAGES}/2/2.jpg"),
        ("note", "more than half of a face box is outside the image", "train", f"{IMAGES}/2/2.jpg"),
        ("note", "a face of less than 16 pixels", "train", f"{IMAGES}/2/2.jpg"),
        ("note", "a face of less than 16 pixels", "train", f"{IMAGES}/2/2.jpg"),
        ("spoils", "listed more than once, with different labels", "train", f"{IMAGES}/1/4.jpg"),
        ("stops", "an image is missing", "train", f"{IMAGES}/0/gone.jpg"),
        ("stops", "the same path in train and val", "val", f"{IMAGES}/2/5.jpg"),
        ("stops", "an image cannot be read", "train", f"{IMAGES}/0/6.jpg"),
        ("spoils", "the same content in train and val", "val", f"{IMAGES}/2/44.jpg"),
        ("note", "a hidden entry, which is not data", "", f"{IMAGES}/._x.jpg"),
    }  # fmt: skip


def test_a_broken_set_of_affectnets_npy_layout(affectnet_npy: Path, check: Check) -> None:
    train, val = affectnet_npy / "train_set", affectnet_npy / "val_set"
    np.save(train / "annotations/0_exp.npy", np.array("11"))
    (train / "annotations/1_val.npy").unlink()
    (train / "images/2.jpg").unlink()
    (train / "images/extra.jpg").write_bytes((train / "images/0.jpg").read_bytes())
    (train / "images/list.txt").touch()
    truncate(val / "images/44.jpg")
    shutil.copy(train / "images/3.jpg", val / "images/45.jpg")
    shutil.copy(train / "images/4.jpg", train / "images/5.jpg")
    (val / "images/46.jpg").write_bytes(cv2.imencode(".jpg", np.full((32, 32, 3), 128, np.uint8))[1].tobytes())
    assert check(affectnet_npy) == {
        ("stops", "... is not a code 0 to 10", "train", "train_set/annotations/0_exp.npy"),
        ("stops", "no such file", "train", "train_set/annotations/1_val.npy"),
        ("stops", "an image is missing", "train", "train_set/images/2.jpg"),
        ("note", "an image without annotation", "train", "train_set/images/extra.jpg"),
        ("note", "an entry that is no image", "train", "train_set/images/list.txt"),
        ("stops", "an image cannot be read", "val", "val_set/images/44.jpg"),
        ("spoils", "the same content in train and val", "val", "val_set/images/45.jpg"),
        ("spoils", "the same content with different expressions", "train", "train_set/images/5.jpg"),
        ("note", "an image shows one colour only", "val", "val_set/images/46.jpg"),
    }


def test_a_broken_set_of_frames(aff_wild2: Path, check: Check) -> None:
    sound = check(aff_wild2)
    assert {kind for effect, kind, *_ in sound if effect != "note"} <= {"an action unit is never active"}
    path = aff_wild2 / "training_set_annotations.txt"
    rows = path.read_text().splitlines()
    units = ",".join(["0"] * 12)
    first = append(
        path, f"video0/00001.jpg,7,0,1,{units}", f"../00001.jpg,0,0,1,{units}", "video0/00004.jpg,0,0", rows[30],
        f"video0/00002.jpg,0,0,1,{units}", f"video6/00001.jpg,0,0,1,{units}",
    )  # fmt: skip
    truncate(aff_wild2 / "cropped_aligned/video8/00004.jpg")
    expected = {
        ("stops", "valence is ..., expected a number from -1 to 1, or -5 for missing", "train", f"{path.name}:{first}"),
        ("stops", "image name ... has an empty, ... or ... part; it must stay inside the image folder", "train",
         f"{path.name}:{first + 1}"),
        ("stops", "3 values, expected 16", "train", f"{path.name}:{first + 2}"),
        ("note", "listed more than once", "train", "cropped_aligned/" + rows[30].split(",")[0]),
        ("stops", "an image is missing", "train", "cropped_aligned/video0/00002.jpg"),
        ("stops", "the same path in train and val", "val", "cropped_aligned/video6/00001.jpg"),
        ("spoils", "a video, and thus a person, in train and val", "val", "video6"),
        ("stops", "an image cannot be read", "val", "cropped_aligned/video8/00004.jpg"),
    }  # fmt: skip
    assert check(aff_wild2) - sound == expected


def test_a_broken_synthetic_set(synthetic: Path, check: Check) -> None:
    train, val = synthetic / "training_set_synthetic_images", synthetic / "validation_set_real_images"
    shutil.rmtree(train / "FEAR")
    happy = sorted((train / "HAPPINESS").iterdir())
    truncate(happy[0])
    shutil.copy(happy[1], train / "SADNESS/copy.jpg")
    image = cv2.imread(str(happy[2]))
    (val / "DISGUST/again.jpg").write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes())
    (val / "DISGUST/list.txt").touch()
    with (synthetic / "LSD_Challenge_test_set_release.txt").open("a") as file:
        file.write("gone.jpg\n../out.jpg\n")
    lines = (synthetic / "LSD_Challenge_test_set_release.txt").read_text().count("\n")
    kind = "is missing; the set has the class folders (" + ", ".join(["..."] * 6) + ")"
    assert check(synthetic, look_alike=0.99) == {
        ("stops", kind, "train", f"{train.name}/FEAR"),
        ("spoils", "no sample of an expression", "train", "Fear"),
        ("stops", "an image cannot be read", "train", f"{train.name}/HAPPINESS/{happy[0].name}"),
        ("spoils", "the same content with different expressions", "train", f"{train.name}/SADNESS/copy.jpg"),
        ("spoils", "looks like an image of train in val", "val", f"{val.name}/DISGUST/again.jpg"),
        ("note", "an entry that is no image", "val", f"{val.name}/DISGUST/list.txt"),
        ("stops", "lacks the validation image ...", "val", "validation_people.csv"),
        ("note", "an image is missing", "test", "test_set_images/gone.jpg"),
        ("note", "... leaves the folder", "test", f"LSD_Challenge_test_set_release.txt:{lines}"),
    }


def test_a_partial_set_is_checked_and_what_is_missing_named(affectnet_csv: Path, check: Check) -> None:
    shutil.rmtree(affectnet_csv / IMAGES)
    (affectnet_csv / "validation.csv").unlink()
    found = check(affectnet_csv)
    assert ("stops", "the folder is missing", "", IMAGES) in found
    assert ("stops", "no usable sample", "val", "") in found
    assert sum(kind == "the annotations cannot be read" and "no such file" in file for _, kind, _, file in found) == 1
    assert sum(kind == "an image is missing" for _, kind, *_ in found) == 40


def test_any_folder_of_images_can_be_checked(tmp_path: Path, check: Check) -> None:
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 4), np.uint8)
    cv2.imwrite(str(folder / "a/transparent.png"), noise)
    cv2.imwrite(str(folder / "deep.png"), noise[..., 0].astype(np.uint16) * 257)
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").touch()
    assert check(folder, set="images") == {
        ("note", "an image has transparent pixels, which show white", "", "a/transparent.png"),
        ("note", "an image has samples of over 8 bits, which are reduced to 8", "", "deep.png"),
        ("stops", "an image cannot be read", "", "empty.jpg"),
        ("note", "an entry that is no image", "", "notes.txt"),
    }


def test_a_folder_without_a_known_set_is_named(tmp_path: Path, affectnet_csv: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no folder .*nowhere"):
        list_set(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=rf"none of the known sets.*did you mean {affectnet_csv}\?"):
        list_set(tmp_path)
    with pytest.raises(MissingFileError, match=r"expected train.*It holds Manually.*set=images checks any folder"):
        list_set(affectnet_csv, "synthetic")
    for name in ("train_set", "val_set", "cropped_aligned"):
        (affectnet_csv / name).mkdir()
    (affectnet_csv / "training.csv").unlink()
    with pytest.raises(InvalidOptionError, match="may be one of several sets"):
        list_set(affectnet_csv)
