"""Lin's concordance correlation coefficient (CCC), from samples or from their moments.

Lin (1989), doi:10.2307/2532051.
"""

from typing import Final

import torch
from torch import Tensor

ROUNDING: Final = 1e-12
"""A spread of less than this share of the second moments is what rounding leaves of two equal constants."""


def concordance(preds: Tensor, target: Tensor) -> Tensor:
    """Compute the CCC of each column of samples; gradients flow through both inputs.

    Args:
        preds: Predicted values, shape (N, D); no NaN.
        target: Annotated values in [-1, 1], shape (N, D); no NaN.

    Returns:
        One coefficient per column, shape (D,), in [-1, 1]; a column in which both inputs are the same constant
        gives 0, not NaN.

    Raises:
        ValueError: If the shapes differ or N is 0.
    """
    if preds.shape != target.shape or preds.ndim != 2 or not len(preds):
        raise ValueError(f"expected two equal shapes (N, D) with N > 0, got {preds.shape} and {target.shape}")
    preds_mean, target_mean = preds.mean(0), target.mean(0)
    preds_centred, target_centred = preds - preds_mean, target - target_mean
    return concordance_from_moments(
        preds_mean, target_mean, preds_centred.square().mean(0), target_centred.square().mean(0),
        (preds_centred * target_centred).mean(0),
    )  # fmt: skip


def concordance_from_moments(
    preds_mean: Tensor,
    target_mean: Tensor,
    preds_variance: Tensor,
    target_variance: Tensor,
    covariance: Tensor,
) -> Tensor:
    """Compute the CCC, 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2).

    The moments are those of the population (divided by N), as the ABAW challenges define it; all of one shape.

    Returns:
        Coefficients of that shape; 0 where both sides are the same constant.
    """
    variances = preds_variance + target_variance
    spread = variances + (preds_mean - target_mean).square()
    constant = spread <= ROUNDING * (variances + preds_mean.square() + target_mean.square())
    # The inner `where` keeps 0/0 out of the backward pass.
    return torch.where(constant, 0.0, 2 * covariance / torch.where(constant, 1.0, spread))
