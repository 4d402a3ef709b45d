import numpy as np
import pytest

from demo_data.action_units import RENDERED_UNITS, activation, deform
from demo_data.renderer.identity import person
from demo_data.renderer.landmarks import BROWS, EYES, JAW, MOUTH_INNER, MOUTH_OUTER, neutral_landmarks

LEFT, RIGHT = MOUTH_OUTER[0], MOUTH_OUTER[6]


def inner_brows(points):
    return points[[BROWS[0][4], BROWS[1][4]], 1].mean()


def outer_brows(points):
    return points[[BROWS[0][0], BROWS[1][0]], 1].mean()


def brow_distance(points):
    return points[BROWS[1][4], 0] - points[BROWS[0][4], 0]


def upper_lids(points):
    return points[list(EYES[0][1] + EYES[1][1]), 1].mean()


def lower_lids(points):
    return points[list(EYES[0][3] + EYES[1][3]), 1].mean()


def corners(points):
    return points[[LEFT, RIGHT], 1].mean()


def mouth_width(points):
    return points[RIGHT, 0] - points[LEFT, 0]


def upper_lip(points):
    return points[MOUTH_OUTER[3], 1]


def gap(points):
    return points[MOUTH_INNER[6], 1] - points[MOUTH_INNER[2], 1]


def lip_height(points):
    return points[MOUTH_OUTER[9], 1] - points[MOUTH_OUTER[3], 1]


def chin(points):
    return points[JAW[8], 1]


# What the FACS manual says each unit does; y grows downwards.
SIGNS = [
    ("AU1", inner_brows, -1), ("AU2", outer_brows, -1), ("AU4", inner_brows, 1), ("AU4", brow_distance, -1),
    ("AU5", upper_lids, -1), ("AU6", lower_lids, -1), ("AU7", lower_lids, -1), ("AU7", upper_lids, 1),
    ("AU9", inner_brows, 1), ("AU10", upper_lip, -1), ("AU12", corners, -1), ("AU12", mouth_width, 1),
    ("AU15", corners, 1), ("AU17", upper_lip, -1), ("AU18", mouth_width, -1), ("AU20", mouth_width, 1),
    ("AU23", lip_height, -1), ("AU24", lip_height, -1), ("AU25", gap, 1), ("AU26", gap, 1), ("AU26", chin, 1),
    ("AU43", upper_lids, 1),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "measure", "sign"), SIGNS)
@pytest.mark.parametrize("who", [0, 1, 2])
def test_each_unit_moves_the_right_landmarks_the_right_way(unit, measure, sign, who):
    neutral = neutral_landmarks(person("sheet", 0, who))
    values = [measure(deform(neutral, activation({unit: strength}))) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert values[0] == pytest.approx(measure(neutral))
    assert np.all(np.diff(values) * sign > 0)


@pytest.mark.parametrize("unit", ["AU1", "AU2", "AU4", "AU5", "AU6", "AU7"])
def test_units_of_the_upper_face_leave_the_mouth_alone(unit):
    neutral = neutral_landmarks(person("sheet", 0, 0))
    moved = deform(neutral, activation({unit: 1.0}))
    mouth = list(MOUTH_OUTER + MOUTH_INNER)
    np.testing.assert_array_equal(moved[mouth], neutral[mouth])


@pytest.mark.parametrize("unit", ["AU15", "AU18", "AU20", "AU23", "AU24", "AU25", "AU26"])
def test_units_of_the_lower_face_leave_the_brows_alone(unit):
    neutral = neutral_landmarks(person("sheet", 0, 0))
    moved = deform(neutral, activation({unit: 1.0}))
    np.testing.assert_array_equal(moved[17:27], neutral[17:27])


def test_a_one_sided_smile_lifts_one_corner():
    neutral = neutral_landmarks(person("sheet", 0, 0))
    moved = deform(neutral, activation({"AU12": (0.0, 1.0)}))
    assert moved[LEFT, 1] == pytest.approx(neutral[LEFT, 1], abs=0.03)
    assert moved[RIGHT, 1] < neutral[RIGHT, 1] - 0.1


def test_pressed_lips_do_not_part():
    neutral = neutral_landmarks(person("sheet", 0, 0))
    pressed = deform(neutral, activation({"AU24": 1.0, "AU25": 1.0}))
    assert gap(pressed) < 0.3 * gap(deform(neutral, activation({"AU25": 1.0})))


def test_lids_never_cross():
    rng = np.random.default_rng(0)
    for who in range(5):
        neutral = neutral_landmarks(person("sheet", 0, who))
        for _ in range(50):
            moved = deform(neutral, rng.integers(0, 2, (2, len(RENDERED_UNITS))).astype(float))
            for _, upper, _, lower in EYES:
                assert (moved[list(upper), 1] < moved[list(lower)[::-1], 1]).all()


def test_deform_leaves_its_input_alone():
    neutral = neutral_landmarks(person("sheet", 0, 0))
    before = neutral.copy()
    deform(neutral, np.ones((2, len(RENDERED_UNITS))))
    np.testing.assert_array_equal(neutral, before)


def test_unknown_unit():
    with pytest.raises(KeyError, match="AU99"):
        activation({"AU99": 1.0})
