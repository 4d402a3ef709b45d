import itertools
from dataclasses import replace

import numpy as np
import pytest

from demo_data.action_units import RENDERED_UNITS, activation
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import BEARDS, GLASSES, HAIR_STYLES, generator, person
from demo_data.renderer.scene import Scene

WHO = replace(person("sheet", 0, 1), glasses="none", beard="none", hair_style="short")


def test_picture_and_landmarks_have_the_promised_form():
    image, landmarks = render(WHO, np.zeros(12), Pose(), Scene(), 96)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    assert landmarks.shape == (68, 2)
    assert landmarks.dtype == np.float32
    assert (landmarks > 0).all()
    assert (landmarks < 96).all()


def test_the_same_arguments_give_the_same_bytes():
    def draw() -> np.ndarray:
        rng = generator("sheet", 0, 4)
        return render(WHO, rng.random(19), Pose.sample(rng), Scene.sample(rng), 64).image

    np.testing.assert_array_equal(draw(), draw())


def test_frames_differ_by_their_noise_alone():
    scene = Scene(noise=5.0)
    first, second = (render(WHO, np.zeros(12), Pose(), scene, 64, frame=frame) for frame in (1, 2))
    difference = first.image.astype(int) - second.image
    assert difference.any()
    assert abs(difference.mean()) < 1
    np.testing.assert_array_equal(first.landmarks, second.landmarks)


@pytest.mark.parametrize("size", [16, 112, 200])
def test_nothing_raises_at_extreme_values(size):
    poses = [
        Pose(yaw, pitch, roll, scale, x, y)
        for yaw, pitch, roll in itertools.product((-75, 75), (-40, 40), (-180, 45))
        for scale, x, y in ((0.05, 0, 0), (1.5, 0, 0), (0.3, 2.0, -2.0))
    ]
    for number, pose in enumerate(poses):
        scene = Scene.sample(generator("sheet", 1, number))
        for level in (0.0, 1.0, 7.0, -3.0):
            image, landmarks = render(WHO, np.full((2, 19), level), pose, scene, size)
            assert image.shape == (size, size, 3)
            assert np.isfinite(landmarks).all()


def test_every_style_can_be_drawn():
    pictures = {
        render(replace(WHO, hair_style=hair, beard=beard, glasses=glasses), np.zeros(12), Pose(15), Scene(), 48)
        .image.tobytes()
        for hair, beard, glasses in itertools.product(HAIR_STYLES, BEARDS, GLASSES)
    }  # fmt: skip
    assert len(pictures) == len(HAIR_STYLES) * len(BEARDS) * len(GLASSES)


def region(landmarks, first, last, margin=4):
    low = landmarks[first:last].min(axis=0).astype(int) - margin
    high = landmarks[first:last].max(axis=0).astype(int) + margin
    return slice(low[1], high[1]), slice(low[0], high[0])


@pytest.mark.parametrize(
    ("unit", "where"),
    [(unit, "brows") for unit in ("AU1", "AU2", "AU4")]
    + [(unit, "eyes") for unit in ("AU5", "AU7", "AU43")]
    + [(unit, "mouth") for unit in ("AU12", "AU15", "AU18", "AU20", "AU23", "AU24", "AU25", "AU26")],
)
def test_a_unit_shows_where_it_acts(unit, where):
    rest, landmarks = render(WHO, activation({}), Pose(), Scene(), 128)
    acting = render(WHO, activation({unit: 1.0}), Pose(), Scene(), 128).image
    change = np.abs(acting.astype(float) - rest).mean(axis=2)
    regions = {
        "brows": region(landmarks, 17, 27),
        "eyes": region(landmarks, 36, 48),
        "mouth": region(landmarks, 48, 68),
    }
    levels = {name: change[part].mean() for name, part in regions.items()}
    assert levels[where] > 4
    others = [levels["mouth"]] if where != "mouth" else [levels["brows"], levels["eyes"]]
    assert levels[where] > 4 * max(others)


@pytest.mark.parametrize("unit", RENDERED_UNITS)
def test_every_unit_can_be_seen(unit):
    rest = render(WHO, activation({}), Pose(), Scene(), 112).image
    half, full = (render(WHO, activation({unit: level}), Pose(), Scene(), 112).image for level in (0.5, 1.0))
    changed = [np.abs(image.astype(int) - rest).max(axis=2) > 12 for image in (half, full)]
    assert changed[0].sum() > 15
    assert changed[1].sum() > changed[0].sum()


def test_twelve_units_stand_for_both_sides():
    units = np.random.default_rng(0).random(12)
    both = np.zeros((2, 19))
    both[:, :12] = units
    np.testing.assert_array_equal(
        render(WHO, units, Pose(), Scene(), 48).image, render(WHO, both, Pose(), Scene(), 48).image
    )


def test_wrong_number_of_units():
    with pytest.raises(ValueError, match=r"shape \(5,\)"):
        render(WHO, np.zeros(5), Pose(), Scene())
