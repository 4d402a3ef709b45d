from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datamodules.own_faces import OwnDataFormat, OwnFacesDataModule, find_own_layout, find_table
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.readers.face_table import TableFormat
from tests.conftest import write_jpeg
from tests.datamodules.readers.test_face_table import COLUMNS

LOADER: dict[str, Any] = {"image_size": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3, "batch_size": 4, "num_workers": 0}


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Draw images, each another."""

    def make(*names: str) -> Path:
        for name in names:
            seed = int.from_bytes(name.encode()[-12:], "big") % 2**32
            write_jpeg(tmp_path / name, np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8))
        return tmp_path

    return make


@pytest.fixture
def table(draw: Callable[..., Path]) -> Callable[..., OwnFacesDataModule]:
    """Write a table and its images and load them."""

    def make(text: str, **changes: Any) -> OwnFacesDataModule:
        root = draw(*{line.split(",")[0] for line in text.split("\n")[1:] if line})
        (root / "labels.csv").write_text(text)
        form = TableFormat(COLUMNS | changes.pop("columns", {}))
        return load(root, "table", table_format=form, **changes)

    return make


def load(root: Path, layout: str = "folders", **changes: Any) -> OwnFacesDataModule:
    data = OwnFacesDataModule(str(root), OwnDataFormat(layout, **changes), **LOADER)
    data.setup()
    return data


def names(*classes: str, split: str = "", count: int = 5) -> list[str]:
    return [f"{split}/{name}/{split}{name}_{number}.jpg".strip("/") for name in classes for number in range(count)]


def test_given_folders_are_read_as_they_are_named(draw: Callable[..., Path]) -> None:
    classes = ("10", "2", "$x$ [b]", "été", "-1,5")
    root = draw(*names(*classes, split="train"), *names(*classes, split="valid", count=2))
    data = load(root)
    assert data.expressions == ("2", "10", "$x$ [b]", "-1,5", "été")
    assert data.dimensions == ()
    assert data.class_counts() == [5] * 5
    assert [len(data.datasets[split]) for split in ("train", "val")] == [25, 10]
    sample = data.datasets["val"][0]
    assert data.expressions[sample["expression"]] == sample["name"].split("/")[1]
    assert np.isnan(sample["valence_arousal"]).all()
    assert data.datasets["val"].boxes is None


def test_the_test_part_is_used_for_validation_only_without_another(draw: Callable[..., Path]) -> None:
    root = draw(*names("a", "b", split="train"), *names("a", "b", split="test", count=2))
    with pytest.warns(UserWarning, match="the test part takes its place"):
        assert len(load(root).datasets["val"]) == 4
    with pytest.warns(UserWarning, match="4 images of test are not read, since data.split_by=file"):
        assert len(load(root, split_by="file").datasets["val"]) == 2
    draw(*names("a", "b", split="val", count=1))
    with pytest.warns(UserWarning, match="4 images of the test part are not read"):
        assert len(load(root).datasets["val"]) == 2


def test_files_or_people_are_held_out(draw: Callable[..., Path]) -> None:
    root = draw(*names("a", "b", count=10))
    with pytest.raises(AnnotationError, match=r"no validation images .*data.split_by=person"):
        load(root)
    assert len(load(root, split_by="file", val_fraction=0.3).datasets["val"]) == 6
    with pytest.raises(AnnotationError, match=r"the person is unknown for 20 images, .* a subfolder"):
        load(root, split_by="person")
    data = load(root, split_by="person", person_pattern=r"._(\d)", val_fraction=0.2)
    people = {split: {name[-5] for name in dataset.names} for split, dataset in data.datasets.items()}
    assert not people["train"] & people["val"]
    assert len(people["val"]) == 2


def test_a_subfolder_per_person(draw: Callable[..., Path]) -> None:
    root = draw(*(f"{label}/{person}/{label}{person}.jpg" for label in "ab" for person in ("p1", "p2", "p3", "p4")))
    data = load(root, split_by="person", val_fraction=0.25)
    assert {name.split("/")[1] for name in data.datasets["val"].names} < {"p1", "p2", "p3", "p4"}
    assert len(data.datasets["val"]) == 2
    with pytest.raises(AnnotationError, match=r"none of 1 can be held out .* \(people\)"):
        load(root, split_by="person", person_pattern="(?:a|b)(p)")


def test_people_in_both_given_splits_give_a_warning(draw: Callable[..., Path]) -> None:
    root = draw(*names("a", "b", split="train"), *names("a", "b", split="val"))
    with pytest.warns(UserWarning, match="5 people are in both"):
        load(root, person_pattern=r".*_(\d)")


@pytest.mark.parametrize(
    ("train", "val", "changes", "message"),
    [
        (["Happy", "sad"], ["happy", "sad"], {}, r"'Happy' and 'happy' differ in case .* data.rename.Happy=happy"),
        (["a", "b"], ["a", "c"], {}, "validation images show c, of which there is no training image"),
        (["a"], ["a"], {}, "all training images are of one class, a; two are needed"),
        (["a", "valence"], ["a"], {}, "a class cannot be named 'valence'"),
        (["a", "b"], ["a"], {"rename": {"z": "y"}}, "data.rename names z, but the classes are a, b"),
        (["a", "b"], ["a"], {"rename": {"b": "a"}}, "of one class"),
    ],
)
def test_classes_that_cannot_be_learnt_are_refused(
    draw: Callable[..., Path], train: list[str], val: list[str], changes: dict, message: str
) -> None:
    root = draw(*names(*train, split="train"), *names(*val, split="val"))
    with pytest.raises(AnnotationError, match=message):
        load(root, **changes)


def test_classes_are_renamed_and_merged(draw: Callable[..., Path]) -> None:
    root = draw(*names("1", "2", "3", split="train"), *names("1", "2", "3", split="val", count=1))
    data = load(root, rename={"1": "Surprise", "2": "Fear", "3": "Fear"})
    assert data.expressions == ("Fear", "Surprise")
    assert data.class_counts() == [10, 5]


def test_a_class_without_a_validation_image_gives_a_warning(draw: Callable[..., Path]) -> None:
    root = draw(*names("a", "b", split="train"), *names("a", split="val"))
    with pytest.warns(UserWarning, match="no validation image shows b; its F1 counts as 0"):
        assert load(root).expressions == ("a", "b")


def test_a_copy_in_both_splits_gives_a_warning(draw: Callable[..., Path]) -> None:
    root = draw(*names("a", "b", split="train"), *names("a", "b", split="val"))
    (root / "val" / "a" / "traina_0.jpg").write_bytes((root / "train" / "a" / "traina_0.jpg").read_bytes())
    with pytest.warns(UserWarning, match="1 images are in both the training and the validation set"):
        load(root)


def test_a_table_gives_the_labels_that_it_has(table: Callable[..., OwnFacesDataModule]) -> None:
    text = "path,expression,valence,split,left,top,width,height\n"
    text += "1.jpg,happy,0.5,train,4,2,10,20\n2.jpg,sad,,train,,,,\n3.jpg,,-0.5,train,,,,\n"
    data = table(text + "4.jpg,happy,0.1,val,,,,\n5.jpg,sad,0.2,val,,,,\n")
    assert data.expressions == ("happy", "sad")
    assert data.dimensions == ("Valence",)
    assert data.class_counts() == [1, 1]
    assert data.datasets["train"].labels["expression"].tolist() == [0, 1, -1]
    whole = cv2.imread(str(data.root / "1.jpg"))[:, :, ::-1]
    expected = cv2.resize(np.ascontiguousarray(whole[2:22, 4:14]), (16, 16))
    assert np.abs(data.datasets["train"][0]["image"].astype(int) - expected).mean() < 8
    assert data.datasets["train"][1]["image"].shape == (16, 16, 3)


def test_a_table_without_expressions(table: Callable[..., OwnFacesDataModule]) -> None:
    data = table("path,arousal,split\n1.jpg,0.1,train\n2.jpg,0.2,train\n3.jpg,0.3,val\n4.jpg,0.4,val\n")
    assert (data.expressions, data.dimensions, data.class_counts()) == ((), ("Arousal",), [])
    with pytest.raises(AnnotationError, match=r"arousal has 1 distinct values in the val part, and cannot be scored"):
        table("path,arousal,split\n1.jpg,0.1,train\n2.jpg,0.2,train\n3.jpg,0.3,val\n4.jpg,0.3,val\n")


def test_dimensions_that_cannot_be_learnt(table: Callable[..., OwnFacesDataModule]) -> None:
    text = "path,expression,valence,split\n1.jpg,a,0,train\n2.jpg,b,0,train\n3.jpg,a,0.5,val\n4.jpg,b,,val\n"
    with pytest.raises(AnnotationError, match=r"1 distinct values in the train .* learnt; .*data.columns.valence=null"):
        table(text)
    assert table(text, columns={"valence": None}).dimensions == ()
    assert table(text.replace(",0,", ",,").replace("0.5", "")).dimensions == ()


def test_a_path_in_both_splits_is_refused_and_one_listed_twice_stays_together(
    table: Callable[..., OwnFacesDataModule],
) -> None:
    with pytest.raises(AnnotationError, match="1 images are in both"):
        table("path,expression,split\n1.jpg,a,train\n2.jpg,b,train\n./1.jpg,a,val\n")
    text = "path,expression\n" + "".join(f"{number % 6}.jpg,{'ab'[number % 2]}\n" for number in range(12))
    with pytest.warns(UserWarning, match="images are listed more than once"):
        data = table(text, split_by="file", val_fraction=0.3)
    assert sorted(len(dataset) for dataset in data.datasets.values()) == [4, 8]


def test_layouts_are_found_where_there_is_no_doubt(draw: Callable[..., Path]) -> None:
    root = draw("photos/1.jpg", "photos/2.jpg")
    assert find_own_layout(root) is None
    (root / "labels.csv").touch()
    assert find_own_layout(root) == "table"
    assert find_table(root, None) == root / "labels.csv"
    (root / "more.csv").touch()
    assert find_own_layout(root) is None
    with pytest.raises(AnnotationError, match=r"has the tables labels.csv, more.csv; name one with data.table"):
        find_table(root, None)
    assert find_own_layout(draw("x/train/a/1.jpg", "x/train/b/1.jpg") / "x") == "folders"
    draw("crops/1.jpg")
    with pytest.raises(AnnotationError, match=r"say with data.layout=folders or data.layout=table"):
        find_own_layout(root)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="there is no folder"):
        load(tmp_path / "nowhere")
