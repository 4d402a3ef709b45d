import numpy as np
import pytest

from affect.labels import (
    AFFECTNET_CODES,
    AFFECTNET_TO_BACKBONE,
    AFFWILD2_EXPRESSIONS,
    BACKBONE_EXPRESSIONS,
    SYNTHETIC_EXPRESSIONS,
    SYNTHETIC_FOLDERS,
    index_map,
)


def test_affectnet_codes_map_to_the_backbones_alphabetical_order():
    # Written out by hand from the two published orders.
    assert AFFECTNET_TO_BACKBONE.tolist() == [5, 4, 6, 7, 3, 2, 0, 1, -1, -1, -1]
    assert list(BACKBONE_EXPRESSIONS) == sorted(BACKBONE_EXPRESSIONS)
    assert {AFFECTNET_CODES[i] for i in np.flatnonzero(AFFECTNET_TO_BACKBONE >= 0)} == set(BACKBONE_EXPRESSIONS)


def test_synthetic_classes_pick_the_published_logits():
    assert index_map(SYNTHETIC_EXPRESSIONS, BACKBONE_EXPRESSIONS).tolist() == [0, 2, 3, 4, 6, 7]
    assert list(SYNTHETIC_FOLDERS) == sorted(SYNTHETIC_FOLDERS)
    assert [folder[:3] for folder in SYNTHETIC_FOLDERS] == [name.upper()[:3] for name in SYNTHETIC_EXPRESSIONS]


def test_a_name_that_the_target_lacks_is_an_error_unless_a_value_is_given():
    with pytest.raises(ValueError, match="Other"):
        index_map(AFFWILD2_EXPRESSIONS, BACKBONE_EXPRESSIONS)
    assert index_map(AFFWILD2_EXPRESSIONS, BACKBONE_EXPRESSIONS, missing=-1).tolist() == [
        5,
        0,
        2,
        3,
        4,
        6,
        7,
        -1,
    ]
    assert index_map(["b"], ["a"], missing=7).tolist() == [7]
    assert index_map([], ["a"]).dtype == np.int64
