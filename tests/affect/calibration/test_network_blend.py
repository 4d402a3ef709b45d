import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score

from affect.calibration.cross_fitting import group_folds
from affect.calibration.network_blend import (
    SPACES,
    WEIGHTS,
    BlendCurve,
    blend_scores,
    cross_fitted_blend,
    f1_per_class,
    stratified_folds,
    sweep_weights,
)

CLASSES = 6


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two networks' logits, each right on some classes, and labels; class 5 is absent."""
    rng = np.random.default_rng(3)
    target = rng.integers(0, 5, 400)
    signal = np.eye(CLASSES)[target] * 2
    first = rng.normal(0, 1, (400, CLASSES)) + signal * (np.arange(CLASSES) < 3)
    second = rng.normal(0, 2, (400, CLASSES)) + 2 * signal * (np.arange(CLASSES) >= 2)
    return first.astype(np.float32), second.astype(np.float32), target


def blended(first: np.ndarray, second: np.ndarray, weight: float, space: str) -> np.ndarray:
    """Blend image by image, as a plain loop."""
    if space == "probabilities":
        first, second = softmax(first.astype(np.float64), 1), softmax(second.astype(np.float64), 1)
    rows = zip(first, second, strict=True)
    return np.array([np.argmax(weight * a.astype(float) + (1 - weight) * b.astype(float)) for a, b in rows])


@pytest.mark.parametrize("space", ["logits", "probabilities"])
def test_the_curve_is_exactly_scikit_learns(scores, space):
    first, second, target = scores
    curve = sweep_weights(first, second, target, space)
    assert curve.weights.tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    for weight, per_class, macro in zip(curve.weights, curve.f1_per_class, curve.f1, strict=True):
        preds = blended(first, second, weight, space)
        options = {"labels": range(CLASSES), "zero_division": 0}
        assert per_class.tolist() == f1_score(target, preds, average=None, **options).tolist()
        assert macro == f1_score(target, preds, average="macro", **options)
    assert curve.f1.max() > max(curve.f1[0], curve.f1[-1])
    assert curve.best_weight == curve.weights[curve.f1.argmax()]


def test_the_ends_are_the_networks_themselves(scores):
    first, second, target = scores
    curve = sweep_weights(first, second, target)
    ends = f1_per_class(np.stack([second.argmax(1), first.argmax(1)]), target, CLASSES)
    np.testing.assert_array_equal(curve.f1_per_class[[0, -1]], ends)


def test_absent_classes_count_as_zero():
    target = np.array([0, 0, 1, 1])
    per_class = f1_per_class(target[None], target, 4)
    np.testing.assert_array_equal(per_class, [[1, 1, 0, 0]])
    assert f1_per_class(np.array([[0, 0, 1, 2]]), target, 4).mean() == pytest.approx((1 + 2 / 3) / 4)


@pytest.mark.parametrize(
    ("f1", "weight"), [([0.1, 0.3, 0.3, 0.3, 0.2], 0.5), ([0.3, 0.1, 0.1, 0.1, 0.3], 0.0), ([0.2] * 5, 0.5)]
)
def test_of_equal_weights_the_one_nearest_to_the_middle_is_taken(f1, weight):
    curve = BlendCurve(np.linspace(0, 1, 5), np.array(f1)[:, None])
    assert curve.best_weight == weight


@pytest.mark.parametrize("space", ["logits", "probabilities"])
def test_blended_scores_predict_what_the_curve_scores(scores, space):
    first, second, _ = scores
    for weight in WEIGHTS:
        preds = blend_scores(first, second, weight, space).argmax(1)
        np.testing.assert_array_equal(preds, blended(first, second, weight, space))


@pytest.mark.parametrize("space", SPACES)
def test_scores_are_blended_in_float64_however_large_the_logits_are(space):
    first = np.array([[900.1, 900, -5], [-900.1, -900.3, -1000]], np.float32)
    second = np.array([[0.1, 0.2, 0.3], [700, 0, -700]], np.float32)
    left, right = first.astype(np.float64), second.astype(np.float64)
    if space == "probabilities":
        left, right = softmax(left, 1), softmax(right, 1)
    found = blend_scores(first, second, 0.3, space)
    np.testing.assert_allclose(found, 0.3 * left + 0.7 * right, rtol=1e-12)
    assert found.dtype == np.float64
    if space == "logits":
        np.testing.assert_array_equal(found, blend_scores(first, second, 0.3))  # the default


def test_each_image_is_judged_with_the_weight_of_the_others(scores):
    first, second, target = scores
    group = np.arange(400) // 20
    result = cross_fitted_blend(first, second, target, ["logits"], group=group, num_folds=4)
    folds, options = group_folds(group, 4), {"average": "macro", "labels": range(CLASSES), "zero_division": 0}
    for fold in range(4):
        rest, rows = folds != fold, folds == fold
        preds = {weight: blended(first[rest], second[rest], weight, "logits") for weight in WEIGHTS}
        f1 = {weight: f1_score(target[rest], preds[weight], **options) for weight in WEIGHTS}
        assert f1[result.fold_weights[fold]] == max(f1.values())
        held_out = blended(first[rows], second[rows], result.fold_weights[fold], "logits")
        np.testing.assert_array_equal(result.preds[rows], held_out)
    assert result.f1 == f1_score(target, result.preds, **options)


@pytest.mark.parametrize(
    ("options", "expected_folds"),
    [
        ({}, lambda target: stratified_folds(target, 5)),
        ({"seed": 3, "num_folds": 4}, lambda target: stratified_folds(target, 4, 3)),
        ({"group": np.arange(60) % 9, "num_folds": 3}, lambda target: group_folds(np.arange(60) % 9, 3)),
    ],
    ids=["stratified", "another seed", "persons"],
)
def test_the_space_too_is_chosen_by_the_other_images(options, expected_folds):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 60)
    first, second = rng.normal(size=(60, 3)), 6 * rng.normal(size=(60, 3))
    result = cross_fitted_blend(first, second, target, **options)
    assert len(set(zip(result.fold_spaces, result.fold_weights, strict=True))) > 1  # folds do differ
    if not options:
        assert set(result.fold_spaces) == set(SPACES)
    folds = expected_folds(target)
    for fold, (space, weight) in enumerate(zip(result.fold_spaces, result.fold_weights, strict=True)):
        rest, rows = folds != fold, folds == fold
        curves = {name: sweep_weights(first[rest], second[rest], target[rest], name) for name in SPACES}
        assert curves[space].f1.max() == max(curve.f1.max() for curve in curves.values())
        assert weight == curves[space].best_weight
        np.testing.assert_array_equal(result.preds[rows], blended(first[rows], second[rows], weight, space))


def test_cross_fitting_undoes_the_flattery_of_a_weight_chosen_in_sample():
    """Two networks of pure noise: in sample the best of 11 weights looks better than cross-fitted, on average."""
    gaps = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=(2, 90, 3))
        target = rng.integers(0, 3, 90)
        gaps.append(sweep_weights(first, second, target).f1.max() - cross_fitted_blend(first, second, target).f1)
    assert np.mean(gaps) > 0.03


def test_stratified_folds_spread_each_class():
    target = np.repeat([0, 1, 2], [50, 23, 7])
    folds = stratified_folds(target, 5)
    assert np.ptp(np.bincount(folds)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(folds[target == label], minlength=5)) <= 1
    np.testing.assert_array_equal(folds, stratified_folds(target, 5))
    assert (folds != stratified_folds(target, 5, seed=1)).any()
    assert np.bincount(stratified_folds(target, 2)).tolist() == [40, 40]
    assert sorted(stratified_folds(target[-3:], 3)) == [0, 1, 2]  # as many folds as images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": np.zeros((3, 5))}, "shapes do not fit"),
        ({"first": np.full((4, 6), np.nan)}, "a logit is NaN"),
        ({"target": np.array([0, 1, 2, -1])}, "leave unlabelled images out"),
        ({"target": np.array([0, 1, 2, 6])}, "labels must lie in 0 to 5"),
        ({"target": np.array([0, 1])}, "shapes do not fit"),
        ({"space": "odds"}, "space must be one of"),
        ({"weights": np.array([0.5, 1.5])}, r"blend weights lie in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {"first": np.zeros((4, 6)), "second": np.zeros((4, 6)), "target": np.zeros(4, int)} | change
    with pytest.raises(ValueError, match=message):
        sweep_weights(**arguments)
    with pytest.raises(ValueError, match="cannot share 4 images"):
        cross_fitted_blend(np.zeros((4, 6)), np.zeros((4, 6)), np.zeros(4, int), num_folds=5)
    with pytest.raises(ValueError, match="a blend weight lies in"):
        blend_scores(np.zeros((4, 6)), np.zeros((4, 6)), 1.1)
