import numpy as np
import pytest
from sklearn.metrics import f1_score

from affect.calibration.expression_bias import (
    BIASES,
    _macro_f1_along,
    apply_log_bias,
    fit_log_bias,
    log_scores,
)


def skewed(seed: int, size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Draw predictions that favour class 0, as a network trained on an unbalanced set gives them."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 8, size)
    logits = random.normal(size=(size, 8)) + 1.5 * np.eye(8)[target] + np.linspace(2, -2, 8)
    target[random.random(size) < 0.2] = -1
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), target


def macro_f1(probabilities: np.ndarray, target: np.ndarray) -> float:
    known = target >= 0
    return f1_score(target[known], probabilities[known].argmax(1), average="macro", labels=range(8), zero_division=0)


def test_a_line_of_biases_equals_scikit_learn() -> None:
    probabilities, target = skewed(0, 200)
    known = target >= 0
    scores = log_scores(probabilities[known])
    others = np.linspace(0.3, -0.4, 8)
    found = _macro_f1_along(np.int64(3), scores + others, scores[:, 3], target[known])
    for value, bias in zip(found, BIASES, strict=True):
        tried = others.copy()
        tried[3] = bias
        assert value == pytest.approx(macro_f1(apply_log_bias(probabilities, tried), target), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_bias_undoes_the_skew_and_no_single_change_is_better(seed: int) -> None:
    probabilities, target = skewed(seed)
    bias = fit_log_bias(probabilities, target)
    reached = macro_f1(apply_log_bias(probabilities, bias), target)
    assert reached > macro_f1(probabilities, target) + 0.05
    assert bias[0] < bias[7]
    random = np.random.default_rng(seed)
    for _ in range(50):
        other = bias.copy()
        other[random.integers(8)] = random.choice(BIASES)
        assert macro_f1(apply_log_bias(probabilities, other), target) <= reached + 1e-12


def test_without_labels_nothing_changes() -> None:
    probabilities, target = skewed(1)
    np.testing.assert_array_equal(fit_log_bias(probabilities, np.full_like(target, -1)), np.zeros(8))
    target[target == 5] = -1
    assert fit_log_bias(probabilities, target)[5] == 0


def test_biased_probabilities_are_probabilities() -> None:
    probabilities = skewed(2)[0].astype(np.float32)
    probabilities[3] = np.nan
    probabilities[4] = np.eye(8)[2]  # zeros have no logarithm
    biased = apply_log_bias(probabilities, np.linspace(-1, 1, 8))
    assert biased.dtype == np.float32
    assert np.isnan(biased[3]).all()
    np.testing.assert_allclose(np.delete(biased, 3, 0).sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(apply_log_bias(probabilities, np.zeros(8))[5:], probabilities[5:], rtol=1e-5)
