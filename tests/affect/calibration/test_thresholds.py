import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from affect.calibration.thresholds import GRID, f1_curves, tune_thresholds
from affect.mtl_score import multi_task_score


def random_units(seed: int, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = (random.random((size, 12)) < np.linspace(0.02, 0.6, 12)).astype(np.float32)
    probabilities = np.clip(0.3 * target + random.random((size, 12)) * 0.7, 0, 1).astype(np.float32)
    probabilities[::3] = probabilities[::3].round(1)  # many equal to a threshold, or just beside it in float32
    target[random.random(size) < 0.1] = np.nan
    target[:, 0][random.random(size) < 0.4] = np.nan
    return probabilities, target


@pytest.mark.parametrize("seed", range(3))
def test_curves_equal_scikit_learn_exactly(seed: int) -> None:
    probabilities, target = random_units(seed)
    curves = f1_curves(probabilities, target)
    for place, threshold in enumerate(GRID):
        for label in range(12):
            known = ~np.isnan(target[:, label])
            active = probabilities[known, label].astype(np.float64) >= threshold
            assert curves[place, label] == pytest.approx(f1_score(target[known, label], active), abs=1e-15)


def test_tuned_thresholds_reach_the_curves_maximum_in_the_metric_too() -> None:
    probabilities, target = random_units(4)
    thresholds = tune_thresholds(probabilities, target)
    assert set(thresholds) <= set(GRID)
    scored = multi_task_score(
        {"action_units": torch.from_numpy(probabilities)},
        {"action_units": torch.from_numpy(target)},
        thresholds.tolist(),
    )
    assert scored["au_f1"] == pytest.approx(f1_curves(probabilities, target).max(0).mean(), abs=1e-15)


def test_the_exact_search_beats_every_grid_and_equals_brute_force() -> None:
    probabilities, target = random_units(5, 120)
    exact = tune_thresholds(probabilities, target, grid=None)
    for label in range(12):
        column = probabilities[:, [label]], target[:, [label]]
        found = f1_curves(*column, exact[[label]])[0, 0]
        every = np.unique(probabilities[:, label].astype(np.float64))
        assert found == pytest.approx(f1_curves(*column, every).max(), abs=1e-15)
        assert found >= f1_curves(*column, np.linspace(0.01, 0.99, 99)).max() - 1e-15


def test_ties_go_to_the_threshold_nearest_to_one_half() -> None:
    probabilities = np.array([[0.05], [0.95]])
    target = np.array([[0.0], [1.0]])
    assert tune_thresholds(probabilities, target) == 0.5
    assert tune_thresholds(probabilities, target, grid=None) == 0.5
    assert tune_thresholds(np.array([[0.61], [0.95]]), target) == 0.7
    assert tune_thresholds(np.array([[0.61], [0.95]]), target, grid=None) == pytest.approx(0.78)


@pytest.mark.parametrize(
    ("probabilities", "threshold"),
    [
        ([0.1, 0.6], 0.5),  # one half lies between them
        ([0.1, 0.5], 0.5),  # and a probability equal to the threshold is active
        ([0.5, 0.9], 0.7),  # as it would be here, wrongly
        ([0.1, 0.3], 0.2),
    ],
)
def test_the_exact_threshold_is_one_half_if_that_separates_and_else_midway(
    probabilities: list[float], threshold: float
) -> None:
    found = tune_thresholds(np.array([probabilities]).T, np.array([[0.0], [1.0]]), grid=None)
    assert found == pytest.approx(threshold, abs=1e-15)


@pytest.mark.parametrize(("lowest", "threshold"), [(0.3, 0.15), (0.7, 0.5)])
def test_where_all_are_positive_the_exact_threshold_is_below_the_lowest(lowest: float, threshold: float) -> None:
    found = tune_thresholds(np.array([[lowest], [0.9]]), np.ones((2, 1)), grid=None)
    assert found == pytest.approx(threshold, abs=1e-15)


def test_a_given_grid_is_searched_and_no_other() -> None:
    probabilities, target = np.array([[0.42], [0.48]]), np.array([[0.0], [1.0]])
    assert tune_thresholds(probabilities, target, np.array([0.41, 0.43, 0.7])) == 0.43
    assert tune_thresholds(probabilities, target * 0, np.array([0.41, 0.43, 0.7])) == 0.5
    assert tune_thresholds(probabilities, target * 0, grid=None) == 0.5


@pytest.mark.parametrize("grid", [GRID, None])
def test_a_label_without_positives_or_annotations_keeps_one_half(grid: np.ndarray | None) -> None:
    probabilities = np.random.default_rng(0).random((30, 2))
    target = np.stack([np.zeros(30), np.full(30, np.nan)], 1)
    np.testing.assert_array_equal(tune_thresholds(probabilities, target, grid), 0.5)


def test_neighbouring_probabilities_are_still_separated() -> None:
    low = 0.7
    high = np.nextafter(low, 1)
    target = np.array([[0.0], [1.0]])
    threshold = tune_thresholds(np.array([[low], [high]]), target, grid=None)
    assert low < threshold[0] <= high


def test_wrong_input_is_refused() -> None:
    probabilities, target = random_units(6)
    with pytest.raises(ValueError, match="shapes do not fit"):
        f1_curves(probabilities, target[1:])
    with pytest.raises(ValueError, match="must increase"):
        f1_curves(probabilities, target, np.array([0.5, 0.5]))
    probabilities[~np.isnan(target)] = np.nan
    with pytest.raises(ValueError, match="is NaN"):
        tune_thresholds(probabilities, target, grid=None)
