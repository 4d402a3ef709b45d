import numpy as np
import pytest
import torch

from affect.concordance import concordance, concordance_from_moments


def reference_concordance(x: np.ndarray, y: np.ndarray) -> float:
    covariance = np.cov(x, y, bias=True)
    return 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2)


@pytest.mark.parametrize("count", [2, 3, 48, 1000])
def test_concordance_agrees_with_numpy(count: int):
    rng = np.random.default_rng(count)
    x, y = rng.normal(size=(2, count, 3))
    y = 0.5 * x + 0.3 * y + 0.2
    expected = [reference_concordance(x[:, column], y[:, column]) for column in range(3)]
    found = concordance(torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    found = concordance(torch.tensor(x).float(), torch.tensor(y).float())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_concordance_of_equal_and_of_mirrored_values():
    x = torch.linspace(-1, 1, 9)[:, None]
    assert concordance(x, x).item() == pytest.approx(1)
    assert concordance(x, -x).item() == pytest.approx(-1)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7, 1.0])
@pytest.mark.parametrize("count", [1, 7, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_constant_twice_gives_0_with_a_finite_gradient(value: float, count: int, dtype: torch.dtype):
    preds = torch.full((count, 1), value, dtype=dtype, requires_grad=True)
    found = concordance(preds, preds.detach().clone())
    assert found.item() == 0
    found.sum().backward()
    assert torch.isfinite(preds.grad).all()
    assert preds.grad.abs().max() < 1e3


def test_a_constant_prediction_gives_0_and_a_gradient_that_leads_away():
    preds = torch.full((6, 1), 0.25, requires_grad=True)
    target = torch.linspace(-1, 1, 6)[:, None]
    found = concordance(preds, target)
    assert found.item() == pytest.approx(0, abs=1e-6)
    found.sum().backward()
    assert torch.isfinite(preds.grad).all()
    assert preds.grad[-1] > preds.grad[0]


def test_a_very_small_but_real_spread_still_counts():
    target = torch.linspace(0.5, 0.5 + 1e-4, 50)[:, None]
    assert concordance(target.flip(0), target).item() == pytest.approx(-1, abs=1e-3)


def test_concordance_gradient_is_the_numerical_one():
    torch.manual_seed(0)
    preds = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(concordance, (preds, torch.randn(5, 2, dtype=torch.float64)))


@pytest.mark.parametrize("shapes", [((3, 1), (3, 2)), ((0, 2), (0, 2)), ((4,), (4,))])
def test_concordance_refuses_unequal_flat_and_empty_input(shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    with pytest.raises(ValueError, match="shapes"):
        concordance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_moments_from_raw_sums_give_the_same():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 500, 3))
    x[:, 2] = 0.1
    y[:, 2] = 0.1
    x_mean, y_mean = x.mean(0), y.mean(0)
    variances = (x**2).mean(0) - x_mean**2, (y**2).mean(0) - y_mean**2
    moments = (x_mean, y_mean, *variances, (x * y).mean(0) - x_mean * y_mean)
    found = concordance_from_moments(*(torch.tensor(part) for part in moments))
    expected = [reference_concordance(x[:, column], y[:, column]) for column in range(2)]
    np.testing.assert_allclose(found.numpy(), [*expected, 0], rtol=1e-12)
