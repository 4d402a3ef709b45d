import numpy as np
import pytest

from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import person
from demo_data.renderer.image_flaws import generated_look
from demo_data.renderer.scene import Scene


@pytest.fixture(scope="module")
def face():
    return render(person("sheet", 0, 1), np.zeros(12), Pose(), Scene(), 112)


@pytest.mark.parametrize("side", [28, 56, 112])
def test_size_and_type(face, side):
    image = generated_look(face.image, face.landmarks, side, np.random.default_rng(0))
    assert image.shape == (side, side, 3)
    assert image.dtype == np.uint8


def test_marks_are_strongest_around_mouth_and_eyes(face):
    rng = np.random.default_rng(0)
    change = np.mean(
        [np.abs(generated_look(face.image, face.landmarks, 112, rng).astype(float) - face.image) for _ in range(20)],
        axis=(0, 3),
    )
    left, top = face.landmarks[48:68].min(axis=0).astype(int)
    right, bottom = face.landmarks[48:68].max(axis=0).astype(int)
    assert change[top:bottom, left:right].mean() > 2 * change[:20].mean()


def test_landmarks_outside_the_picture_do_no_harm(face):
    generated_look(face.image, face.landmarks + 500, 56, np.random.default_rng(0))
