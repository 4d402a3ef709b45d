from dataclasses import replace

import numpy as np

from demo_data.renderer.identity import person
from demo_data.renderer.landmarks import BROWS, EYES, JAW, MIRROR, MOUTH_OUTER, NOSE_BASE, neutral_landmarks


def test_a_level_face_is_its_own_mirror_image():
    face = neutral_landmarks(replace(person("sheet", 0, 0), mouth_tilt=0.0))
    np.testing.assert_allclose(face[MIRROR] * (-1, 1, 1), face, atol=1e-6)


def test_mirroring_twice_changes_nothing():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))


def test_features_stand_in_their_places():
    for who in range(20):
        face = neutral_landmarks(person("sheet", 0, who))
        height = face[:, 1]
        eyes = [index for outer, upper, inner, lower in EYES for index in (outer, *upper, inner, *lower)]
        assert height[list(BROWS[0] + BROWS[1])].max() < height[eyes].min()
        assert height[eyes].max() < height[list(NOSE_BASE)].min()
        assert height[list(NOSE_BASE)].max() < height[list(MOUTH_OUTER)].min()
        assert height[list(MOUTH_OUTER)].max() < height[JAW[8]]
        assert face[:17, 0].min() <= face[17:, 0].min()
