import csv

import cv2
import numpy as np
import pytest

from benchmarks.demo_leak import LIMITS, probe, tiny_faces
from demo_data.affectnet import write_affectnet


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("leak") / "affectnet"
    write_affectnet(root, train=240, validation=80, size=48, workers=1)
    return root


def test_only_usable_faces_are_read(root):
    pixels, codes, values = tiny_faces(root, "validation.csv")
    assert pixels.shape == (82, 256)
    assert set(codes) == set(range(8))
    assert (values == -2).all(1).sum() == 2
    assert ((values == -2).all(1) | (np.abs(values) <= 1).all(1)).all()


def test_drawn_faces_do_not_leak(root):
    scores = probe(root)
    assert set(scores) == set(LIMITS)
    assert all(scores[name] < limit for name, limit in LIMITS.items())


def test_the_probe_notices_a_leak(root):
    rng = np.random.default_rng(0)
    for name in ("training.csv", "validation.csv"):
        with (root / name).open() as file:
            for row in csv.DictReader(file):
                path = root / "Manually_Annotated_Images" / row["subDirectory_filePath"]
                image = cv2.imread(str(path))
                code = int(row["expression"])
                # A dark stripe whose place tells the class, and two whose shade tells valence and arousal.
                image[:, 4 * code : 4 * code + 8] = rng.integers(0, 10)
                for top, key in ((18, "valence"), (26, "arousal")):
                    image[top : top + 6] = 128 + 100 * max(float(row[key]), -1)
                cv2.imwrite(str(path), image)
    scores = probe(root)
    assert all(scores[name] > 1.5 * limit for name, limit in LIMITS.items())
