"""Confidence intervals of scores by resampling whole clusters (videos, people, images).

Frames of one video resemble one another, so that resampling frames would give intervals several times too narrow. Here
whole clusters are drawn with replacement (Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x), and percentiles
of the scores of the drawn sets are the interval.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torchmetrics.utilities import dim_zero_sum

from affect.metrics import AdditiveMetric

NUM_DRAWS: Final = 2000
LEVEL: Final = 0.95
_DRAWS_AT_ONCE: Final = 100


class ClusterBootstrap:
    """Draw clusters with replacement, the same draws for every score, so that differences are paired.

    Args:
        cluster: Cluster of each row, shape (N,), of any sortable type.
        num_draws: Number of resampled sets.
        seed: Seed of the draws.

    Attributes:
        num_clusters: Number G of clusters.
        weights: How often each cluster is in each resampled set, shape (num_draws, G), float64.

    Raises:
        ValueError: If there are fewer than two clusters: their spread cannot be estimated.
    """

    def __init__(self, cluster: np.ndarray, num_draws: int = NUM_DRAWS, seed: int = 0) -> None:
        names, number = np.unique(cluster, return_inverse=True)
        self.num_clusters = len(names)
        if self.num_clusters < 2:
            raise ValueError(f"an interval needs at least two clusters, got {self.num_clusters}")
        order = np.argsort(number, kind="stable")
        self._rows = [
            torch.from_numpy(rows) for rows in np.split(order, np.cumsum(np.bincount(number))[:-1].astype(np.int64))
        ]
        even = np.full(self.num_clusters, 1 / self.num_clusters)
        draws = np.random.default_rng(seed).multinomial(self.num_clusters, even, size=num_draws)
        self.weights = torch.from_numpy(draws.astype(np.float64))

    def draws(self, metric: AdditiveMetric, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute a metric's scores of every resampled set.

        Args:
            metric: The metric; its states are not changed.
            preds: Predictions, N rows.
            target: Labels, N rows.

        Returns:
            Scores by name, shape (num_draws,), float64; NaN where a set does not allow the score.
        """
        states = self._states(metric, preds, target)
        return {name: values.double() for name, values in metric.scores(states).items()}

    def _states(self, metric: AdditiveMetric, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the metric's states of every resampled set, (num_draws, ...), from those of the clusters."""
        single = metric.clone()
        by_cluster: dict[str, list[Tensor]] = {name: [] for name in single._defaults}
        for rows in self._rows:
            single.reset()
            single.update(preds[rows], target[rows])
            for name, states in by_cluster.items():
                states.append(getattr(single, name))
        combined = {}
        for name, states in by_cluster.items():
            stacked = torch.stack(states).double()
            if single._reductions[name] is dim_zero_sum:
                combined[name] = torch.tensordot(self.weights, stacked, dims=1)
            else:
                combined[name] = self._maxima(stacked)
        return combined

    def _maxima(self, states: Tensor) -> Tensor:
        flat = states.flatten(1)
        parts = [
            torch.where(weights[..., None] > 0, flat, -torch.inf).amax(1)
            for weights in self.weights.split(_DRAWS_AT_ONCE)
        ]
        return torch.cat(parts).unflatten(1, states.shape[1:])

    def interval(self, draws: Tensor, level: float = LEVEL) -> tuple[float, float]:
        """Compute the percentile interval of a score, or of a difference between two, from its draws.

        Percentiles of few clusters give intervals that are too narrow; they are moved outwards as far as Student's
        distribution lies outside the normal one ("expanded percentile", Hesterberg 2015,
        doi:10.1080/00031305.2015.1089789).

        Args:
            draws: Scores of the resampled sets, shape (num_draws,); NaN takes no part.
            level: Share of such intervals that should hold the true value.

        Returns:
            Lower and upper end; NaN if no draw has the score.
        """
        known = draws[~draws.isnan()].numpy()
        if not len(known):
            return float("nan"), float("nan")
        freedom = self.num_clusters - 1
        quantile = stats.t.ppf((1 - level) / 2, freedom) * np.sqrt(self.num_clusters / freedom)
        tail = stats.norm.cdf(quantile)
        low, high = np.quantile(known, [tail, 1 - tail])
        return float(low), float(high)


def with_intervals(
    scores: Mapping[str, float], draws: Mapping[str, Tensor], bootstrap: ClusterBootstrap
) -> dict[str, float]:
    """Return scores with their intervals as further entries, `<name>/low` and `<name>/high`, where there are draws."""
    result: dict[str, float] = {}
    for name, value in scores.items():
        result[name] = value
        if name in draws:
            result[f"{name}/low"], result[f"{name}/high"] = bootstrap.interval(draws[name])
    return result
