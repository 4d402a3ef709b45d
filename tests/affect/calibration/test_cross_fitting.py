import numpy as np
import pytest

from affect.calibration.cross_fitting import cross_fit, group_folds


def test_no_group_is_split_and_folds_are_even() -> None:
    group = np.repeat(np.arange(20), np.random.default_rng(0).integers(5, 60, 20))
    np.random.default_rng(1).shuffle(group)
    folds = group_folds(group, 5)
    for number in range(20):
        assert len(np.unique(folds[group == number])) == 1
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 0.1 * sizes.mean()
    np.testing.assert_array_equal(folds, group_folds(group, 5))


def test_groups_of_the_same_size_are_dealt_out_in_their_order() -> None:
    group = np.repeat(np.arange(60), 3)
    np.testing.assert_array_equal(group_folds(group, 4), group % 4)
    np.testing.assert_array_equal(group_folds(np.arange(2), 2), [0, 1])


@pytest.mark.parametrize("num_folds", [1, 4])
def test_impossible_folds_are_refused(num_folds: int) -> None:
    with pytest.raises(ValueError, match="cannot share 3 groups"):
        group_folds(np.array([0, 1, 2, 2]), num_folds)


def test_no_row_is_treated_with_what_it_was_fitted_on() -> None:
    folds = np.array([0, 1, 2, 0, 1, 2, 2])
    seen: list[set[int]] = []

    def fit(rows: np.ndarray) -> int:
        seen.append(set(rows.tolist()))
        return int(rows.sum())

    def apply(fitted: int, rows: np.ndarray) -> np.ndarray:
        assert not seen[-1] & set(rows.tolist())
        return np.stack([rows, np.full(len(rows), fitted)], 1)

    result = cross_fit(fit, apply, folds)
    np.testing.assert_array_equal(result[:, 0], np.arange(7))
    np.testing.assert_array_equal(result[:, 1], [18, 16, 8, 18, 16, 8, 8])
