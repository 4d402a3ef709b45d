from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import accuracy_score, f1_score, root_mean_squared_error

from affect.labels import BACKBONE_EXPRESSIONS
from affect.metrics import ExpressionMetrics, ValenceArousalMetrics

CONTEMPT = 1


def sample(count: int, seed: int = 0, missing: float = 0.2) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(count, 8)), dtype=torch.float32)
    expression = torch.tensor(rng.integers(0, 8, count))
    logits[torch.arange(count), expression] += 1
    expression[torch.tensor(rng.random(count) < missing)] = -1
    target = torch.tensor(rng.uniform(-1, 1, (count, 2)), dtype=torch.float32)
    preds = 0.6 * target + 0.4 * torch.tensor(rng.normal(size=(count, 2)), dtype=torch.float32)
    target[torch.tensor(rng.random((count, 2)) < missing)] = torch.nan
    return logits, expression, preds, target


def expected_expression(logits: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    x, y = logits.float().numpy()[target >= 0].copy(), target.numpy()[target >= 0]
    f1 = f1_score(y, x.argmax(1), average=None, labels=range(8), zero_division=0)
    scores = {"expression_accuracy": accuracy_score(y, x.argmax(1)), "expression_f1": f1.mean()}
    scores |= {f"expression_f1/{name}": value for name, value in zip(BACKBONE_EXPRESSIONS, f1, strict=True)}
    x[:, CONTEMPT] = -np.inf
    if (y != CONTEMPT).any():
        kept = y != CONTEMPT
        scores["expression_accuracy_7"] = accuracy_score(y[kept], x[kept].argmax(1))
    return scores


def expected_valence_arousal(preds: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    scores = {}
    for column, name in enumerate(("valence", "arousal")):
        y = target[:, column].double().numpy()
        x, y = preds[:, column].double().numpy()[~np.isnan(y)], y[~np.isnan(y)]
        spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
        scores[f"{name}_ccc"] = 2 * ((x - x.mean()) * (y - y.mean())).mean() / spread if spread else 0.0
        scores[f"{name}_rmse"] = root_mean_squared_error(y, x)
    return scores


def numbers(scores: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in scores.items()}


@pytest.mark.parametrize("sizes", [[100], [7, 50, 1, 42], [1] * 100])
def test_scores_agree_with_scikit_learn_however_the_samples_are_batched(sizes: list[int]):
    logits, expression, preds, target = sample(100)
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt"), ValenceArousalMetrics()
    for rows in torch.arange(100).split(sizes):
        by_class.update(logits[rows], expression[rows])
        by_value.update(preds[rows], target[rows])
    assert numbers(by_class.compute()) == pytest.approx(expected_expression(logits, expression), abs=1e-12)
    assert numbers(by_value.compute()) == pytest.approx(expected_valence_arousal(preds, target), abs=1e-6)


def test_a_class_neither_present_nor_predicted_counts_as_0():
    logits = torch.eye(8)[[0, 2, 2, 3]]
    target = torch.tensor([0, 2, 3, 3])
    metrics = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt")
    metrics.update(logits, target)
    scores = numbers(metrics.compute())
    assert scores["expression_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 8)
    assert scores["expression_f1/Sadness"] == 0
    assert scores == pytest.approx(expected_expression(logits, target))


def test_seven_class_accuracy_ignores_the_class_and_its_logit():
    metrics = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt")
    logits = torch.full((3, 8), -5.0)
    logits[:, CONTEMPT] = 9  # the best logit everywhere
    logits[:, 4] = -1
    metrics.update(logits, torch.tensor([4, 5, CONTEMPT]))
    scores = numbers(metrics.compute())
    assert scores["expression_accuracy"] == pytest.approx(1 / 3)
    assert scores["expression_accuracy_7"] == pytest.approx(1 / 2)


def test_only_the_left_out_class_is_labelled():
    metrics = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt")
    metrics.update(torch.zeros(2, 8), torch.tensor([CONTEMPT, CONTEMPT]))
    assert "expression_accuracy_7" not in metrics.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_labels_nothing_is_reported():
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS), ValenceArousalMetrics()
    assert by_class.compute() == {}
    assert by_value.compute() == {}
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS), ValenceArousalMetrics()
    by_class.update(torch.zeros(3, 8), torch.full((3,), -1))
    by_value.update(torch.zeros(3, 2), torch.full((3, 2), torch.nan))
    assert by_class.compute() == {}
    assert by_value.compute() == {}


def test_a_column_without_labels_is_absent_not_0():
    metrics = ValenceArousalMetrics()
    metrics.update(torch.rand(4, 2), torch.tensor([[0.1, torch.nan]] * 3 + [[0.2, torch.nan]]))
    assert set(metrics.compute()) == {"valence_ccc", "valence_rmse"}


def test_constant_predictions_score_0_but_labels_that_do_not_vary_no_ccc():
    metrics = ValenceArousalMetrics()
    metrics.update(torch.full((5, 2), 0.3), torch.linspace(-1, 1, 10).reshape(5, 2))
    assert metrics.compute()["valence_ccc"].item() == pytest.approx(0, abs=1e-12)
    single = ValenceArousalMetrics()
    single.update(torch.tensor([[0.3, -0.2]]), torch.tensor([[0.1, -0.2]]))
    assert numbers(single.compute()) == pytest.approx({"valence_rmse": 0.2, "arousal_rmse": 0}, abs=1e-6)
    constant = ValenceArousalMetrics()
    constant.update(torch.randn(5, 2), torch.tensor([[0.1, 0.3]] * 4 + [[0.1, 0.4]]))
    assert set(constant.compute()) == {"valence_rmse", "arousal_rmse", "arousal_ccc"}


def test_bfloat16_is_scored_as_its_float32_value():
    logits, expression, preds, target = sample(64)
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt"), ValenceArousalMetrics()
    by_class.update(logits.bfloat16(), expression)
    by_value.update(preds.bfloat16(), target)
    assert numbers(by_class.compute()) == pytest.approx(expected_expression(logits.bfloat16(), expression))
    expected = expected_valence_arousal(preds.bfloat16().float(), target)
    assert numbers(by_value.compute()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_reset_forgets():
    logits, expression, preds, target = sample(10)
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS), ValenceArousalMetrics()
    by_class.update(logits, expression)
    by_value.update(preds, target)
    by_class.reset()
    by_value.reset()
    assert by_class.compute() == {}
    assert by_value.compute() == {}


def test_samples_are_counted_exactly_beyond_what_float32_can_count():
    metrics = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt")
    metrics.update(torch.eye(8)[[2]], torch.tensor([2]))
    metrics.confusion *= 2**24
    metrics.confusion_without *= 2**24
    metrics.update(torch.eye(8)[[2]], torch.tensor([2]))
    assert int(metrics.confusion.sum()) == int(metrics.confusion_without.sum()) == 2**24 + 1


def score_in_process(rank: int, folder: str, sizes: list[list[int]]) -> None:
    """Score this process's share, in its batches; the shares lie one behind the other."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(sizes))
    data = sample(sum(map(sum, sizes)))
    start = sum(map(sum, sizes[:rank]))
    by_class, by_value = ExpressionMetrics(BACKBONE_EXPRESSIONS, "Contempt"), ValenceArousalMetrics()
    for size in sizes[rank]:
        logits, expression, preds, target = (column[start : start + size] for column in data)
        by_class.update(logits, expression)
        by_value.update(preds, target)
        start += size
    torch.save({**by_class.compute(), **by_value.compute()}, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.parametrize("sizes", [[[5, 20], [17]], [[30], []]], ids=["uneven batches", "a process without any batch"])
def test_two_processes_report_the_scores_of_all_samples(sizes: list[list[int]], tmp_path: Path):
    start: Callable = mp.start_processes
    start(score_in_process, (str(tmp_path), sizes), nprocs=2, start_method="fork")
    logits, expression, preds, target = sample(sum(map(sum, sizes)))
    expected = expected_expression(logits, expression) | expected_valence_arousal(preds, target)
    for rank in range(2):
        assert numbers(torch.load(tmp_path / f"{rank}.pt")) == pytest.approx(expected, abs=1e-6)
