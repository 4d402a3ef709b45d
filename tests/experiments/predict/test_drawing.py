import numpy as np
import pandas as pd
import pytest

from experiments.predict.drawing import draw_faces


def face(person: int, left: int, top: int) -> dict:
    return {
        "person": person, "left": left, "top": top, "width": 80, "height": 80, "expression": "Happiness",
        "p_Happiness": 0.5, "valence": 0.5, "arousal": -0.25, "AU1_active": 1, "AU2_active": 0,
    }  # fmt: skip


@pytest.mark.parametrize("second", [(40, 185), (125, 110), (40, 15)])
def test_a_caption_leaves_other_faces_free(second: tuple[int, int]) -> None:
    image = np.full((400, 400, 3), 200, np.uint8)
    drawn = draw_faces(image, pd.DataFrame([face(1, 40, 100), face(2, *second)]))
    assert not np.array_equal(drawn, image)
    for left, top in ((40, 100), second):
        inner = drawn[top + 4 : top + 76, left + 4 : left + 76]
        assert (inner == 200).all()


def test_captions_at_the_border_stay_in_the_picture() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    for left, top in ((0, 0), (20, 20), (0, 20)):
        drawn = draw_faces(image, pd.DataFrame([face(1, left, top)]))
        assert drawn.shape == image.shape
        assert (drawn == 255).all(2).any(), "white text"


def test_a_frame_without_a_face_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert np.array_equal(draw_faces(image, pd.DataFrame([{"person": None}])), image)
