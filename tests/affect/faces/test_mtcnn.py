"""The cascade against facenet-pytorch's own, on a photograph that matplotlib ships."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch

from affect.errors import MissingFileError
from affect.faces.boxes import overlap
from affect.faces.mtcnn import MtcnnDetector

PORTRAIT = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.imread(str(PORTRAIT), cv2.IMREAD_COLOR_RGB)


@pytest.fixture(scope="module")
def scene(portrait: np.ndarray) -> np.ndarray:
    """The portrait in three sizes on a grey ground."""
    image = np.full((700, 1000, 3), 120, np.uint8)
    left = 0
    for width in (512, 300, 180):
        small = cv2.resize(portrait, (width, width * 600 // 512), interpolation=cv2.INTER_AREA)
        image[50 : 50 + len(small), left : left + width] = small
        left += width
    return image


@pytest.fixture(scope="module")
def detector() -> MtcnnDetector:
    return MtcnnDetector(min_face=40)


@pytest.mark.parametrize("min_face", [30, 60])
def test_the_same_faces_as_the_packages_own_cascade(scene: np.ndarray, portrait: np.ndarray, min_face: int) -> None:
    from facenet_pytorch import MTCNN

    own = MtcnnDetector(min_face, min_confidence=0.0)([scene, portrait])
    for found, image, count in zip(own, (scene, portrait), (3, 1), strict=True):
        boxes, confidence = MTCNN(keep_all=True, min_face_size=min_face).detect(image)
        sure, peers = found.boxes[found.confidence > 0.9], boxes[np.array(confidence) > 0.9].astype(np.float32)
        assert len(sure) == len(peers) == count
        assert overlap(sure, peers).max(1).min() > 0.85


def test_a_pictures_faces_do_not_depend_on_the_others(
    detector: MtcnnDetector, scene: np.ndarray, portrait: np.ndarray
) -> None:
    together = detector([scene, portrait, scene])
    for found, image in zip(together, (scene, portrait, scene), strict=True):
        (alone,) = detector([image])
        assert np.array_equal(found.boxes, alone.boxes)
        assert np.array_equal(found.confidence, alone.confidence)


def test_the_most_confident_face_comes_first(detector: MtcnnDetector, scene: np.ndarray) -> None:
    (found,) = detector([scene])
    assert (np.diff(found.confidence) <= 0).all()
    assert found.confidence.min() >= 0.9


@pytest.mark.parametrize("shape", [(1, 1), (11, 400), (400, 39), (40, 40), (300, 300)])
def test_nothing_is_found_in_grey_pictures_of_any_size(detector: MtcnnDetector, shape: tuple[int, int]) -> None:
    (found,) = detector([np.full((*shape, 3), 128, np.uint8)])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_no_pictures_have_no_result(detector: MtcnnDetector) -> None:
    assert detector([]) == []


def test_pytorchs_threads_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    MtcnnDetector()([np.zeros((100, 100, 3), np.uint8)])
    assert torch.get_num_threads() == before


def test_without_the_package_the_error_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affect.faces.mtcnn.PACKAGE", "facenet_pytorch_that_is_missing")
    with pytest.raises(MissingFileError, match="pip install --no-deps facenet-pytorch"):
        MtcnnDetector()
