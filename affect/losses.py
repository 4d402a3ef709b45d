"""Losses of the multi-task backbone; samples without a label of a task take no part in that task's term."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affect.errors import UserError
from affect.labels import MISSING_EXPRESSION
from affect.networks.backbone import split_outputs


def concordance(preds: Tensor, target: Tensor) -> Tensor:
    """Measure agreement with Lin's concordance correlation coefficient.

    CCC = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2), with population (divide-by-N) moments,
    as the ABAW challenges define it. Lin (1989), doi:10.2307/2532051.

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
    covariance = (preds_centred * target_centred).mean(0)
    spread = preds_centred.square().mean(0) + target_centred.square().mean(0)
    spread = spread + (preds_mean - target_mean).square()
    # What rounding leaves of two equal constants is not a spread. The inner `where` keeps 0/0 out of the backward pass.
    rounding = (4 * torch.finfo(spread.dtype).eps) ** 2 * (preds_mean.square() + target_mean.square())
    constant = spread <= rounding
    return torch.where(constant, 0.0, 2 * covariance / torch.where(constant, 1.0, spread))


def inverse_frequency_weights(counts: Sequence[int]) -> Tensor:
    """Weight classes by 1/count, divided by the smallest such weight (arXiv 2207.09508, section 3.1).

    Args:
        counts: Training samples per class.

    Returns:
        Weights, shape (C,): 1 for the most frequent class; 0 for a class without samples, which never occurs.

    Raises:
        UserError: If no class has a sample.
    """
    samples = torch.as_tensor(counts, dtype=torch.float32)
    if samples.max() <= 0:
        raise UserError(f"no class has a training sample: counts {list(counts)}")
    return torch.where(samples > 0, samples.max() / samples.clamp(min=1), 0.0)


def mean_frequency_weights(counts: Sequence[int]) -> Tensor:
    """Weight classes by mean(count)/count (arXiv 2207.09508, section 3.3).

    Args:
        counts: Training samples per class.

    Returns:
        Weights, shape (C,): 1 for a class of average frequency; 0 for a class without samples.

    Raises:
        UserError: If no class has a sample.
    """
    weights = inverse_frequency_weights(counts)
    samples = torch.as_tensor(counts, dtype=torch.float32)
    return weights * samples.mean() / samples.max()


def sample_mean_cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Average class-weighted cross entropy over samples, as Keras does.

    `torch.nn.functional.cross_entropy` divides the sum by the samples' weights instead, which makes the loss smaller by
    their mean, and so a penalty beside it stronger.

    Args:
        logits: Shape (B, C).
        target: Class indices, shape (B,); -1 is missing, and such a sample does not count.
        class_weights: Factor of each class's term of the (smoothed) target, shape (C,); None weighs all alike.
        label_smoothing: Share of the target spread over all classes, in [0, 1).

    Returns:
        A scalar; 0 with a graph if nothing is labelled.
    """
    total = F.cross_entropy(
        logits, target, class_weights, ignore_index=MISSING_EXPRESSION, reduction="sum", label_smoothing=label_smoothing
    )  # fmt: skip
    return total / (target != MISSING_EXPRESSION).sum().clamp(min=1)


class MultiTaskLoss(nn.Module):
    """Sum class-weighted cross entropy and (1 - CCC)/2 of valence and of arousal (arXiv 2207.09508, eq. 1).

    The cross entropy is divided by the samples' weights, as in PyTorch, with which stage 1 was published.

    Args:
        class_weights: One weight per expression, shape (C,); None weighs all alike.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        num_expressions: Number of expression logits.
    """

    class_weights: Tensor | None

    def __init__(
        self, num_expressions: int, class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.num_expressions = num_expressions
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self, outputs: Tensor, expression: Tensor, valence_arousal: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the terms that the batch has labels for.

        Args:
            outputs: Expression logits, then valence and arousal, shape (B, C + 2), or (B, C) without these.
            expression: Class indices, shape (B,); -1 is missing.
            valence_arousal: Values in [-1, 1], shape (B, 2); NaN is missing, None is missing everywhere.

        Returns:
            Scalars `loss` (always; 0 with a graph if nothing is labelled) and, where there are labels,
            `expression`, `valence` and `arousal`. A CCC needs two samples.
        """
        # Computed in float32 under autocast: variances of bfloat16 values are too coarse.
        logits, predicted = split_outputs(outputs.float(), self.num_expressions)
        if valence_arousal is None:
            valence_arousal = torch.full_like(logits[:, :2], torch.nan)
        annotated = ~valence_arousal.isnan()
        # Asked once for all tasks: a GPU has to finish everything before it can answer.
        counts = torch.column_stack([expression != MISSING_EXPRESSION, annotated]).sum(0).tolist()
        terms: dict[str, Tensor] = {}
        if counts[0]:
            terms["expression"] = F.cross_entropy(
                logits, expression, self.class_weights, ignore_index=MISSING_EXPRESSION,
                label_smoothing=self.label_smoothing,
            )  # fmt: skip
        for column, name in enumerate(("valence", "arousal")[: predicted.shape[1]]):
            if counts[1 + column] >= 2:
                pair = [values[:, column, None].contiguous() for values in (predicted, valence_arousal)]
                if counts[1 + column] < len(outputs):  # where all are annotated, nothing need be asked again
                    pair = [values[annotated[:, column]] for values in pair]
                terms[name] = (1 - concordance(*pair).squeeze(0)) / 2
        total = torch.stack(list(terms.values())).sum() if terms else outputs.float().sum() * 0
        return {"loss": total, **terms}
