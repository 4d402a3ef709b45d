import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from affect.labels import SYNTHETIC_EXPRESSIONS, SYNTHETIC_FOLDERS
from affect.storage.text_file import Fault
from datamodules.readers.annotation_errors import AnnotationError
from datamodules.synthetic_faces import (
    OFFICIAL_COUNTS,
    PEOPLE_FILE,
    TEST_FOLDER,
    TEST_LIST,
    TRAIN_FOLDER,
    VALIDATION_FOLDER,
    FaceCopy,
    SyntheticFacesDataModule,
    list_classes,
    read_people,
    read_test_list,
    read_truth,
    scan_classes,
)
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.runtime.provenance import data_digest

LOADER = {"image_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_size": 8, "num_workers": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lsd") / "set"
    write_synthetic_faces(folder, train=24, validation=18, test=5, workers=1)
    return folder


def test_labels_follow_the_official_folders(root: Path) -> None:
    data = SyntheticFacesDataModule(str(root), **LOADER)
    data.setup()
    train = data.datasets["train"]
    for path, label in zip(train.paths, train.labels["expression"], strict=True):
        assert str(path).split("/")[0] == SYNTHETIC_FOLDERS[label]
    counts = [len(list((root / TRAIN_FOLDER / name).glob("*.jpg"))) for name in SYNTHETIC_FOLDERS]
    assert data.class_counts() == counts
    assert tuple(data.expressions) == SYNTHETIC_EXPRESSIONS


def test_all_formats_are_listed_hidden_files_passed_over_and_the_rest_reported(tmp_path: Path) -> None:
    for name in SYNTHETIC_FOLDERS:
        (tmp_path / name).mkdir()
        for file in ("1.jpg", "2.WEBP", "3.bmp", "._1.jpg", "Thumbs.db", ".DS_Store"):
            (tmp_path / name / file).write_bytes(b"x")
    (tmp_path / SYNTHETIC_FOLDERS[0] / ".ipynb_checkpoints").mkdir()
    with warnings.catch_warnings(action="error"):
        paths, labels = list_classes(tmp_path)
    assert paths == [f"{name}/{file}" for name in SYNTHETIC_FOLDERS for file in ("1.jpg", "2.WEBP", "3.bmp")]
    assert labels.tolist() == [label for label in range(6) for _ in range(3)]
    (tmp_path / SYNTHETIC_FOLDERS[1] / "album.jpg").mkdir()
    (tmp_path / SYNTHETIC_FOLDERS[2] / "clip.mp4").write_bytes(b"x")
    names = rf"{SYNTHETIC_FOLDERS[1]}/album\.jpg, {SYNTHETIC_FOLDERS[2]}/clip\.mp4$"
    with pytest.warns(UserWarning, match=rf"2 entries are not read.*: {names}"):
        assert list_classes(tmp_path)[0] == paths


def test_a_batch_keeps_the_contract(root: Path) -> None:
    data = SyntheticFacesDataModule(str(root), **LOADER)
    data.setup()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["image"].shape == (8, 3, 32, 32)
    assert set(batch) == {"image", "expression", "name"}


def test_validation_faces_are_not_jittered(root: Path) -> None:
    data = SyntheticFacesDataModule(str(root), **LOADER)
    data.setup()
    first, again = (data.datasets["val"][0]["image"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    changed = [
        not np.array_equal(data.datasets["train"][0]["image"], data.datasets["train"][0]["image"]) for _ in range(3)
    ]
    assert any(changed)


def test_the_test_list_keeps_its_order_and_needs_no_label(root: Path) -> None:
    data = SyntheticFacesDataModule(str(root), **LOADER)
    data.setup("predict")
    listed = (root / TEST_LIST).read_text().split()[1:]
    names = [name for batch in data.predict_dataloader() for name in batch["name"]]
    assert names == [line.split(",")[0] for line in listed]


def test_predicting_needs_the_test_set_alone(root: Path, tmp_path: Path) -> None:
    for name in (TEST_LIST, TEST_FOLDER):
        (tmp_path / name).symlink_to(root / name)
    data = SyntheticFacesDataModule(str(tmp_path), **LOADER)
    data.setup("predict")
    assert sum(len(batch["name"]) for batch in data.predict_dataloader()) == 5


def test_copies_are_read_in_the_order_of_the_official_folder(root: Path, tmp_path: Path) -> None:
    official = SyntheticFacesDataModule(str(root), on_corrupt="skip", **LOADER)
    official.setup()
    paths = official.datasets["train"].paths.tolist()
    enlarged = Path(shutil.copytree(root / TRAIN_FOLDER, tmp_path / "copy"))
    (enlarged / paths[3]).unlink()
    reason = f"{root / TRAIN_FOLDER / paths[3]}: truncated"
    copy = FaceCopy(enlarged, {paths[3]: reason, "SAD/deep/unlisted.jpg": "not listed"})
    data = SyntheticFacesDataModule(str(root), copies={"train": copy}, on_corrupt="skip", **LOADER)
    data.setup()
    assert data.datasets["train"].paths.tolist() == paths
    assert data.class_counts() == official.class_counts()
    assert data_digest(data.datasets) == data_digest(official.datasets)
    assert data.check_files() == [reason]
    assert data.skipped == {reason}
    names = [name for batch in data.train_dataloader() for name in batch["name"]]
    assert sorted(names) == sorted(set(paths) - {paths[3]})


def test_a_missing_class_folder_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="ANGRER is missing"):
        list_classes(tmp_path)
    for name in SYNTHETIC_FOLDERS:
        (tmp_path / name).mkdir()
    with pytest.raises(AnnotationError, match="ANGRER holds no image"):
        list_classes(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,expression\n", "lists no image"),
        ("image,expression\n0.jpg\n../1.jpg\n", r":3: '\.\./1\.jpg' leaves the folder"),
        ("0.jpg,\n1.jpg\n", ":1: an image instead of the header"),
        ("image,expression\n0.jpg\n,1\n", ":3: no image name"),
        ("image,expression\n0.jpg,1,1.jpg\n", ":2: 3 fields, expected a name"),
        ('image,expression\n"0.jpg\n', ":2: image name .* holds a quotation mark"),
        ("image,expression\n0.jpg\u2028x.jpg\n1.jpg\x0b\n", ":3: image name .* unprintable character"),
        ("image,expression\n\n0.jpg\0\n", ":3: holds a NUL byte"),
        ("", "lists no image"),
        ("image,expression\n/etc/passwd\n", ":2: '/etc/passwd' leaves the folder"),
    ],
)
def test_a_malformed_test_list_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read_test_list(path)


def test_trailing_commas_and_blank_lines_are_no_names(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"image,expression\r\n0.jpg,\r\n\r\n1.jpg\r\n")
    assert read_test_list(path) == ["0.jpg", "1.jpg"]


@pytest.mark.timeout(20)
def test_a_named_pipe_in_place_of_the_test_list_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(AnnotationError, match=r"list\.txt: not a regular file but a named pipe"):
        read_test_list(tmp_path / "list.txt")


def test_a_validation_face_among_the_training_faces_gives_a_warning(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "set"))
    face = next((copy / VALIDATION_FOLDER / "FEAR").glob("*.jpg"))
    shutil.copy(face, copy / TRAIN_FOLDER / "SADNESS" / face.name)
    with pytest.warns(UserWarning, match=rf"1 images are in both .*SADNESS/{face.name} and .*FEAR/{face.name}"):
        SyntheticFacesDataModule(str(copy), **LOADER).setup()


def test_the_drawn_set_names_its_people_whatever_the_suffix_of_a_copy(root: Path) -> None:
    data = SyntheticFacesDataModule(str(root), **LOADER)
    data.setup()
    assert not data.is_official
    for name, person in data.people.items():  # every person was drawn five times in a row
        assert int(person) == int(Path(name).stem) // 5
    assert set(data.people) == set(data.datasets["val"].names.tolist())
    name = next(iter(data.people))
    copy = str(Path(name).with_suffix(".png"))
    assert read_people(root / PEOPLE_FILE, [copy]) == {copy: data.people[name]}


def test_without_a_file_no_person_is_known(tmp_path: Path) -> None:
    assert read_people(tmp_path / PEOPLE_FILE, ["FEAR/1.jpg"]) == {}
    assert read_truth(tmp_path / "labels.txt", ["1.jpg"]) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the header must be"),
        ("name,who\nFEAR/1.jpg,1\n", "the header must be"),
        ("image,person\nFEAR/1.jpg\n", "2.*expected an image and its person"),
        ("image,person\nFEAR/1.jpg,1\nFEAR/1.jpg,2\n", "3.*shows '1' and '2'"),
        ("image,person\nFEAR/2.jpg,1\n", "lacks 1 of 1 validation images, for example FEAR/1.jpg"),
    ],
)
def test_a_wrong_file_of_people_is_named(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / PEOPLE_FILE).write_text(content)
    with pytest.raises(AnnotationError, match=reason):
        read_people(tmp_path / PEOPLE_FILE, ["FEAR/1.jpg"])


def test_labels_of_the_test_list_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("image,expression\n1.jpg,5\n0.jpg,2\n\n")
    found = read_truth(path, ["0.jpg", "1.jpg", "2.jpg"])
    assert found is not None
    assert found.tolist() == [2, 5, -1]
    path.write_text("image,expression\n1.jpg,6\n")
    with pytest.raises(AnnotationError, match="label 0 to 5"):
        read_truth(path, ["1.jpg"])


def test_the_official_set_is_recognised_by_its_counts() -> None:
    class Counted(SyntheticFacesDataModule):
        def class_counts(self) -> list[int]:
            return list(counts)

    counts = OFFICIAL_COUNTS
    data = Counted("set", **LOADER)
    data.datasets = {"val": range(4_670)}  # type: ignore[dict-item]
    assert sum(counts) == 277_251
    assert data.is_official
    data.datasets = {"val": range(4_669)}  # type: ignore[dict-item]
    assert not data.is_official
    data.datasets, counts = {"val": range(4_670)}, (*OFFICIAL_COUNTS[:5], 14_975)  # type: ignore[dict-item]
    assert not data.is_official


def test_faults_are_collected_and_all_else_read(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root / VALIDATION_FOLDER, tmp_path / "set"))
    expected = {folder: len(list((copy / folder).iterdir())) for folder in SYNTHETIC_FOLDERS}
    shutil.rmtree(copy / "FEAR")
    for path in (copy / "SADNESS").iterdir():
        path.rename(path.with_suffix(".txt"))
    faults: list[Fault] = []
    paths, labels, ignored = scan_classes(copy, faults)
    assert np.bincount(labels).tolist() == [expected[name] * (name not in ("FEAR", "SADNESS")) for name in expected]
    assert len(paths) == len(labels)
    assert len(ignored) == expected["SADNESS"]
    assert [(Path(fault.file).name, fault.reason.split(";")[0]) for fault in faults] == [
        ("FEAR", "is missing"), ("SADNESS", "holds no image"),
    ]  # fmt: skip

    (tmp_path / PEOPLE_FILE).write_text("image,person\nFEAR/1.jpg,1\nFEAR/1.jpg,2\nFEAR/2.jpg\n")
    faults.clear()
    read_people(tmp_path / PEOPLE_FILE, ["FEAR/1.jpg", "FEAR/3.jpg"], faults)
    assert [(fault.line, fault.reason[:5]) for fault in faults] == [(3, "'FEAR"), (4, "expec"), (0, "lacks")]

    path = tmp_path / "list.txt"
    path.write_text("image,expression\n0.jpg\n../1.jpg\n2.jpg\n")
    faults.clear()
    assert read_test_list(path, faults) == ["0.jpg", "2.jpg"]
    assert [fault.line for fault in faults] == [3]
