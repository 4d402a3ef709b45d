import csv

import cv2
import numpy as np
import pytest

from datamodules.readers.affectnet import find_layout, read_annotations
from demo_data.affectnet import COLUMNS, TRAINING_COUNTS, training_counts, write_affectnet

ARGUMENTS = {"train": 60, "validation": 24, "size": 64}


@pytest.fixture(scope="module")
def csv_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("affectnet") / "csv"
    assert write_affectnet(root, **ARGUMENTS, workers=1)
    return root


@pytest.fixture(scope="module")
def npy_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("affectnet") / "npy"
    assert write_affectnet(root, **ARGUMENTS, layout="b", workers=1)
    return root


def rows(root, name):
    with (root / name).open() as file:
        return list(csv.DictReader(file))


def test_csv_files_have_the_official_columns(csv_root):
    for name in ("training.csv", "validation.csv"):
        with (csv_root / name).open() as file:
            assert next(csv.reader(file)) == list(COLUMNS)


@pytest.mark.parametrize("name", ["training.csv", "validation.csv"])
def test_every_listed_picture_exists_and_boxes_lie_inside(csv_root, name):
    for row in rows(csv_root, name):
        image = cv2.imread(str(csv_root / "Manually_Annotated_Images" / row["subDirectory_filePath"]))
        assert image.shape == (64, 64, 3)
        left, top, width, height = (int(row[f"face_{key}"]) for key in ("x", "y", "width", "height"))
        if width > 0:
            assert left >= 0
            assert top >= 0
            assert left + width <= 64
            assert top + height <= 64
            assert 16 <= width < 64
        assert len(row["facial_landmarks"].split(";")) == 136


@pytest.mark.parametrize("name", ["training.csv", "validation.csv"])
def test_each_kind_of_row_to_leave_out_is_there(csv_root, name):
    listed = rows(csv_root, name)
    codes = [int(row["expression"]) for row in listed]
    for code in (8, 9, 10):
        assert codes.count(code) == 2
    usable = [row for row in listed if int(row["expression"]) < 8]
    assert sum(row["face_x"] == "-1" for row in usable) == 2
    assert sum(float(row["valence"]) == -2 and float(row["arousal"]) == -2 for row in usable) == 2


@pytest.mark.parametrize(("fixture", "layout"), [("csv_root", "csv"), ("npy_root", "npy")])
def test_the_reader_of_the_real_set_reads_the_drawn_one(request, fixture, layout):
    root = request.getfixturevalue(fixture)
    assert find_layout(root) == layout
    table = read_annotations(root, layout)
    # In the npy layout a row without box cannot be told: its two stay.
    extra = 2 if layout == "csv" else 4
    assert (table["split"] == "train").sum() == 60 + extra
    assert (table["split"] == "val").sum() == 24 + extra
    assert table.groupby("split")["valence"].apply(lambda column: column.isna().sum()).to_list() == [2, 2]
    assert set(table["expression"]) == set(range(8))
    assert all((root / path).is_file() for path in table["path"])


def test_npy_annotations_are_text_and_landmarks_lie_in_the_crop(npy_root):
    folder = npy_root / "train_set" / "annotations"
    assert len(list(folder.glob("*_exp.npy"))) == len(list((npy_root / "train_set" / "images").glob("*.jpg")))
    value = np.load(folder / "0_val.npy", allow_pickle=False)
    assert value.shape == ()
    assert value.dtype.kind == "U"
    assert -2 <= float(value.item()) <= 1
    centre = np.load(folder / "0_lnd.npy", allow_pickle=False).reshape(68, 2).mean(axis=0)
    height, width = cv2.imread(str(npy_root / "train_set" / "images" / "0.jpg")).shape[:2]
    assert (centre > 0).all()
    assert (centre < (width, height)).all()


def test_layouts_show_the_same_faces(csv_root, npy_root):
    codes = [row["expression"] for row in rows(csv_root, "training.csv")]
    folder = npy_root / "train_set" / "annotations"
    assert codes == [str(np.load(folder / f"{number}_exp.npy").item()) for number in range(len(codes))]


@pytest.mark.parametrize("layout", ["a", "b"])
def test_same_seed_same_bytes_for_any_number_of_workers(csv_root, npy_root, tmp_path, digest, layout):
    write_affectnet(tmp_path / "again", **ARGUMENTS, layout=layout, workers=2)
    assert digest(tmp_path / "again") == digest(csv_root if layout == "a" else npy_root)


def test_training_classes_are_unbalanced_in_the_order_of_the_real_ones_above_a_floor():
    counts, real = np.array(training_counts(1600)), np.array(TRAINING_COUNTS)
    assert counts.sum() == 1600
    assert counts.min() / 1600 == pytest.approx(0.07, abs=0.002)
    # Happiness leads and neutral follows; the others are at the floor or near it.
    assert list(np.argsort(-counts)[:2]) == list(np.argsort(-real)[:2])
    assert 5 < counts[1] / counts[7] < 6
    assert real[1] / real[7] > 35


def test_validation_is_balanced(csv_root):
    table = read_annotations(csv_root, "csv")
    counts = table[(table["split"] == "val") & table["valence"].notna()].groupby("expression").size()
    assert counts.max() - counts.min() <= 2


def test_unknown_layout(tmp_path):
    with pytest.raises(ValueError, match="'c'"):
        write_affectnet(tmp_path / "set", layout="c")
