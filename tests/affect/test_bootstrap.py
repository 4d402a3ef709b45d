import numpy as np
import pytest
import torch
from torch import Tensor

from affect.bootstrap import ClusterBootstrap, with_intervals
from affect.metrics import ExpressionMetrics, ValenceArousalMetrics
from affect.mtl_score import multi_task_draws, multi_task_score

CLASSES = ("Anger", "Joy", "Rest")


def faces(num_videos: int, seed: int = 0, frames: int = 12) -> tuple[np.ndarray, Tensor, Tensor]:
    """Draw logits and labels whose quality differs from video to video."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(num_videos), frames)
    target = rng.integers(0, 3, len(video))
    logits = rng.normal(size=(len(video), 3))
    logits[np.arange(len(video)), target] += rng.normal(1, 1, num_videos)[video]
    return video, torch.from_numpy(logits), torch.from_numpy(target)


def resampled(cluster: np.ndarray, weights: Tensor) -> np.ndarray:
    """Return the rows of a drawn set, repeated as often as their cluster was drawn."""
    names = np.unique(cluster)
    return np.concatenate([
        np.flatnonzero(cluster == name) for name, times in zip(names, weights.long().tolist(), strict=True)
        for _ in range(times)
    ])  # fmt: skip


def test_draws_are_the_scores_of_the_repeated_rows():
    video, logits, target = faces(7)
    order = np.random.default_rng(1).permutation(len(video))  # rows of a video need not lie together
    video, logits, target = video[order], logits[order], target[order]
    target[::5] = -1
    bootstrap = ClusterBootstrap(video, num_draws=30, seed=3)
    draws = bootstrap.draws(ExpressionMetrics(CLASSES, "Rest"), logits, target)
    for number, weights in enumerate(bootstrap.weights):
        rows = resampled(video, weights)
        metric = ExpressionMetrics(CLASSES, "Rest")
        metric.update(logits[rows], target[rows])
        for name, value in metric.compute().items():
            assert draws[name][number] == pytest.approx(float(value), abs=1e-12)


def test_draws_without_the_labels_for_a_score_are_nan():
    video = np.array([0, 0, 1, 1, 2, 2])
    target = torch.full((6, 2), torch.nan)
    target[:2] = torch.tensor([[0.1, 0.5], [0.3, 0.5]])
    target[2:4] = 0.2
    preds = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    bootstrap = ClusterBootstrap(video, num_draws=200)
    draws = bootstrap.draws(ValenceArousalMetrics(), preds, target)
    for number, weights in enumerate(bootstrap.weights):
        metric = ValenceArousalMetrics()
        rows = resampled(video, weights)
        metric.update(preds[rows], target[rows])
        scores = metric.compute()
        for name, values in draws.items():
            if name in scores:
                assert values[number] == pytest.approx(float(scores[name]), abs=1e-9)
            else:
                assert values[number].isnan()
    assert draws["valence_ccc"].isnan().any()
    assert not draws["valence_ccc"].isnan().all()


def test_a_multi_task_score_is_drawn_with_its_parts_paired():
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(8), 20)
    target = {
        "valence_arousal": torch.from_numpy(rng.uniform(-1, 1, (160, 2))),
        "expression": torch.from_numpy(rng.integers(0, 8, 160)),
        "action_units": torch.from_numpy(rng.integers(0, 2, (160, 12)).astype(np.float32)),
    }
    preds = {
        "valence_arousal": torch.from_numpy(rng.uniform(-1, 1, (160, 2))),
        "expression": torch.from_numpy(rng.random((160, 8))),
        "action_units": torch.from_numpy(rng.random((160, 12))),
    }
    bootstrap = ClusterBootstrap(video, num_draws=5)
    draws = multi_task_draws(bootstrap, preds, target, thresholds=[0.4] * 12)
    for number, weights in enumerate(bootstrap.weights):
        rows = resampled(video, weights)
        expected = multi_task_score(
            {task: values[rows] for task, values in preds.items()},
            {task: values[rows] for task, values in target.items()},
            [0.4] * 12,
        )
        assert {name: float(values[number]) for name, values in draws.items()} == pytest.approx(expected, abs=1e-9)


def test_intervals_hold_the_true_accuracy_as_often_as_they_say():
    """Accuracy over videos whose difficulty varies, 300 times: coverage within three standard errors of 95 %."""
    truth = float(torch.cat([_correct(seed, 200) for seed in range(1000, 1100)]).mean())
    covered = 0
    for seed in range(300):
        video, logits, target = faces(20, seed)
        bootstrap = ClusterBootstrap(video, num_draws=400, seed=seed)
        draws = bootstrap.draws(ExpressionMetrics(CLASSES), logits, target)
        low, high = bootstrap.interval(draws["expression_accuracy"])
        covered += low <= truth <= high
    assert abs(covered / 300 - 0.95) < 3 * (0.95 * 0.05 / 300) ** 0.5


def _correct(seed: int, num_videos: int) -> Tensor:
    _, logits, target = faces(num_videos, seed)
    return (logits.argmax(1) == target).double()


def test_frames_of_a_video_are_not_counted_as_independent():
    video, logits, target = faces(12, frames=50)
    widths = []
    for cluster in (video, np.arange(len(video))):
        bootstrap = ClusterBootstrap(cluster, num_draws=500)
        low, high = bootstrap.interval(bootstrap.draws(ExpressionMetrics(CLASSES), logits, target)["expression_f1"])
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


def test_few_clusters_widen_the_interval_as_student_does():
    draws = torch.linspace(0, 1, 2001)
    few = ClusterBootstrap(np.arange(5), num_draws=1).interval(draws)
    many = ClusterBootstrap(np.arange(5000), num_draws=1).interval(draws)
    assert many == pytest.approx((0.025, 0.975), abs=1e-3)
    assert few == pytest.approx((0.00096, 0.99904), abs=2e-3)  # normal tail of 2.776 sqrt(5 / 4)


def test_with_intervals_adds_ends_beside_each_score():
    bootstrap = ClusterBootstrap(np.arange(100), num_draws=1)
    scores = with_intervals({"f1": 0.5, "count": 3.0}, {"f1": torch.linspace(0.4, 0.6, 1001)}, bootstrap)
    assert list(scores) == ["f1", "f1/low", "f1/high", "count"]
    assert scores["f1/low"] == pytest.approx(0.405, abs=1e-3)


def test_one_cluster_has_no_interval():
    with pytest.raises(ValueError, match="at least two clusters, got 1"):
        ClusterBootstrap(np.zeros(10))
    assert all(np.isnan(ClusterBootstrap(np.arange(3)).interval(torch.full((5,), torch.nan))))
