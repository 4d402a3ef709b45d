import cv2
import numpy as np
import pytest

from affect.labels import SYNTHETIC_FOLDERS
from demo_data.synthetic_faces import (
    PEOPLE_FILE,
    REAL_COUNTS,
    SYNTHETIC_COUNTS,
    TEST_LIST,
    TEST_TRUTH,
    class_counts,
    write_synthetic_faces,
)

ARGUMENTS = {"train": 60, "validation": 40, "test": 12}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "set"
    assert write_synthetic_faces(root, **ARGUMENTS, workers=1)
    return root


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("training_set_synthetic_images", class_counts(60, SYNTHETIC_COUNTS)),
        ("validation_set_real_images", class_counts(40, REAL_COUNTS)),
    ],
)
def test_folders_have_the_official_names_and_the_planned_counts(root, folder, counts):
    assert sorted(path.name for path in (root / folder).iterdir()) == list(SYNTHETIC_FOLDERS)
    assert [len(list((root / folder / name).glob("*.jpg"))) for name in SYNTHETIC_FOLDERS] == counts


def test_counts_are_unbalanced_as_published():
    counts = np.array(class_counts(600, SYNTHETIC_COUNTS))
    assert counts.sum() == 600
    assert counts.argmax() == 4
    assert counts[3] == sorted(counts)[-2]
    assert counts.min() >= 24


def test_synthetic_pictures_are_small_and_real_ones_are_not(root):
    sides = {cv2.imread(str(path)).shape[0] for path in root.glob("training_set_synthetic_images/*/*.jpg")}
    assert sides <= {56, 64, 80, 112}
    assert len(sides) > 1
    for path in root.glob("validation_set_real_images/*/*.jpg"):
        assert cv2.imread(str(path)).shape == (112, 112, 3)


def test_synthetic_pictures_hold_less_detail(root):
    def detail(folder: str) -> float:
        values = []
        for path in root.glob(f"{folder}/*/*.jpg"):
            grey = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (112, 112)).astype(float)
            values.append(np.abs(cv2.Laplacian(grey, cv2.CV_64F)).mean())
        return float(np.median(values))

    assert detail("training_set_synthetic_images") < 0.7 * detail("validation_set_real_images")


def test_test_list_names_the_pictures(root):
    header, *names = (root / TEST_LIST).read_text().splitlines()
    assert header == "image,expression"
    assert names == [f"{number}.jpg" for number in range(12)]
    assert {path.name for path in (root / "test_set_images").iterdir()} == set(names)
    _, *truth = (root / TEST_TRUTH).read_text().splitlines()
    assert [line.split(",")[0] for line in truth] == names
    assert {int(line.split(",")[1]) for line in truth} <= set(range(6))


def test_same_seed_same_bytes_for_any_number_of_workers(root, tmp_path, digest):
    write_synthetic_faces(tmp_path / "again", **ARGUMENTS, workers=2)
    assert digest(tmp_path / "again") == digest(root)


def test_the_people_of_all_validation_pictures_are_recorded(root):
    header, *lines = (root / PEOPLE_FILE).read_text().splitlines()
    assert header == "image,person"
    images = {line.split(",")[0] for line in lines}
    folder = root / "validation_set_real_images"
    assert images == {str(path.relative_to(folder)) for path in folder.glob("*/*.jpg")}
    assert {line.split(",")[1] for line in lines} == {str(person) for person in range(8)}
