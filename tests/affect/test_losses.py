from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.utils._python_dispatch import TorchDispatchMode

from affect.errors import UserError
from affect.losses import (
    MultiTaskLoss,
    expression_loss,
    inverse_frequency_weights,
    mean_frequency_weights,
    split_outputs,
)


def reference_concordance(x: np.ndarray, y: np.ndarray) -> float:
    covariance = np.cov(x, y, bias=True)
    return 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2)


def test_weights_are_inverse_counts_divided_by_the_smallest():
    assert inverse_frequency_weights([10, 5, 2, 10]).tolist() == [1, 2, 5, 1]
    assert inverse_frequency_weights([4, 0, 1]).tolist() == [1, 0, 4]
    assert inverse_frequency_weights([1, 0, 1]).tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="no class"):
        inverse_frequency_weights([0, 0])


def test_weights_by_the_mean_count_are_1_for_a_class_of_average_frequency():
    assert mean_frequency_weights([10, 20, 30]).tolist() == pytest.approx([2, 1, 2 / 3])
    assert mean_frequency_weights([8, 0, 1]).tolist() == pytest.approx([3 / 8, 0, 3])
    with pytest.raises(UserError, match="no class"):
        mean_frequency_weights([0, 0])


def batch(count: int = 32, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    outputs = torch.tensor(rng.normal(size=(count, 10)), dtype=torch.float32)
    expression = torch.tensor(rng.integers(0, 8, count))
    valence_arousal = torch.tensor(rng.uniform(-1, 1, (count, 2)), dtype=torch.float32)
    return outputs, expression, valence_arousal


def reference_loss(
    outputs: torch.Tensor, expression: torch.Tensor, valence_arousal: torch.Tensor, weights: np.ndarray,
    smoothing: float = 0.0,
) -> dict[str, float]:  # fmt: skip
    logits = outputs[:, :8].double().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = expression.numpy()
    known = labels >= 0
    hard = log_loss(labels[known], probabilities[known], sample_weight=weights[labels[known]], labels=range(8))
    spread = -(weights * np.log(probabilities[known])).sum() / 8 / weights[labels[known]].sum()
    terms = {"expression": (1 - smoothing) * hard + smoothing * spread}
    for column, name in enumerate(("valence", "arousal")):
        valid = ~np.isnan(valence_arousal[:, column].numpy())
        pair = outputs[valid, 8 + column].double().numpy(), valence_arousal[valid, column].double().numpy()
        terms[name] = (1 - reference_concordance(*pair)) / 2
    return {"loss": sum(terms.values()), **terms}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_published_sum_over_labelled_samples(smoothing: float):
    outputs, expression, valence_arousal = batch()
    expression[[0, 5, 9]] = -1
    valence_arousal[3:8, 0] = torch.nan
    valence_arousal[0, 1] = torch.nan
    weights = np.linspace(1, 3, 8)
    loss = MultiTaskLoss(8, torch.tensor(weights, dtype=torch.float32), smoothing)
    found = loss(outputs, expression, valence_arousal)
    expected = reference_loss(outputs, expression, valence_arousal, weights, smoothing)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("expressions", "valences", "arousals", "expected"),
    [
        (6, 0, 0, {"expression"}),
        (0, 2, 0, {"valence"}),
        (0, 0, 2, {"arousal"}),
        (1, 1, 5, {"expression", "arousal"}),
        (6, 5, 1, {"expression", "valence"}),
        (6, 6, 4, {"expression", "valence", "arousal"}),
        (4, 3, 6, {"expression", "valence", "arousal"}),
    ],
)
def test_each_task_counts_its_own_labels(expressions: int, valences: int, arousals: int, expected: set[str]):
    outputs, expression, valence_arousal = batch(6)
    expression[expressions:] = -1
    valence_arousal[valences:, 0] = torch.nan
    valence_arousal[arousals:, 1] = torch.nan
    found = MultiTaskLoss(8)(outputs, expression, valence_arousal)
    assert set(found) == {"loss", *expected}
    for column, (name, count) in enumerate((("valence", valences), ("arousal", arousals))):
        if name in expected:
            pair = outputs[:count, 8 + column].numpy(), valence_arousal[:count, column].numpy()
            assert found[name].item() == pytest.approx((1 - reference_concordance(*pair)) / 2, rel=1e-4)


def test_without_valence_and_arousal_labels_the_plain_cross_entropy_is_left():
    outputs, expression, _ = batch()
    found = MultiTaskLoss(8)(outputs, expression)
    assert set(found) == {"loss", "expression"}
    chances = torch.softmax(outputs[:, :8].double(), 1).numpy()
    assert found["loss"].item() == pytest.approx(log_loss(expression, chances, labels=range(8)), rel=1e-5)


def test_class_weights_belong_to_the_data_and_not_to_a_checkpoint():
    assert not MultiTaskLoss(8, torch.ones(8)).state_dict()


def test_unlabelled_samples_get_no_gradient():
    outputs, expression, valence_arousal = batch(6)
    outputs.requires_grad_()
    expression[2] = -1
    valence_arousal[2] = torch.nan
    MultiTaskLoss(8)(outputs, expression, valence_arousal)["loss"].backward()
    assert torch.isfinite(outputs.grad).all()
    assert not outputs.grad[2].any()
    assert outputs.grad[[0, 1, 3, 4, 5]].abs().sum(1).min() > 0


def test_a_batch_without_labels_gives_0_with_a_graph():
    outputs, expression, valence_arousal = batch(4)
    outputs.requires_grad_()
    found = MultiTaskLoss(8)(outputs, expression.fill_(-1), valence_arousal.fill_(torch.nan))
    assert set(found) == {"loss"}
    assert found["loss"].item() == 0
    found["loss"].backward()
    assert not outputs.grad.any()


class Questions(TorchDispatchMode):
    """Counts the operations whose result a GPU is waited for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        self.count += masks or name in ("_local_scalar_dense", "nonzero")
        return func(*args, **(kwargs or {}))


def test_a_fully_annotated_batch_reads_only_the_counts_from_the_device():
    loss, data = MultiTaskLoss(8), batch()
    with Questions() as questions:  # the counts come by `tolist`, which passes it by
        loss(*data)
    assert questions.count == 0
    data[2][3, 0] = torch.nan
    with Questions() as questions:
        loss(*data)
    assert questions.count == 2


def test_one_annotated_sample_is_too_few_for_a_concordance():
    outputs, expression, valence_arousal = batch(4)
    valence_arousal[1:, 0] = torch.nan
    valence_arousal[2:, 1] = torch.nan
    assert set(MultiTaskLoss(8)(outputs, expression, valence_arousal)) == {"loss", "expression", "arousal"}


def test_outputs_without_valence_and_arousal_give_the_expression_term_alone():
    outputs, expression, valence_arousal = batch()
    found = MultiTaskLoss(8)(outputs[:, :8], expression, valence_arousal)
    assert set(found) == {"loss", "expression"}


def test_half_precision_outputs_are_scored_in_float32():
    outputs, expression, valence_arousal = batch()
    rounded = outputs.bfloat16()
    found = MultiTaskLoss(8)(rounded, expression, valence_arousal)
    expected = MultiTaskLoss(8)(rounded.float(), expression, valence_arousal)
    assert found["loss"].dtype == torch.float32
    assert found["loss"].item() == expected["loss"].item()
    with torch.autocast("cpu", torch.bfloat16):
        assert MultiTaskLoss(8)(rounded, expression, valence_arousal)["loss"].item() == expected["loss"].item()


def test_constant_predictions_and_a_single_sample_have_finite_gradients():
    for count in (1, 8):
        outputs = torch.full((count, 10), 0.1, requires_grad=True)
        _, expression, valence_arousal = batch(count)
        for target in (valence_arousal, torch.full_like(valence_arousal, 0.1)):
            MultiTaskLoss(8)(outputs, expression, target)["loss"].backward()
            assert torch.isfinite(outputs.grad).all()


def test_cross_entropy_is_divided_by_the_samples_or_by_their_weights():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(40, 8)), rng.integers(-1, 8, 40)
    weights = np.array([1.0, 5.5, 7.8, 8.0, 1.4, 3.3, 4.8, 1.0])
    known = target >= 0
    chances = np.exp(logits[known]) / np.exp(logits[known]).sum(1, keepdims=True)
    terms = -weights[target[known]] * np.log(chances[np.arange(known.sum()), target[known]])
    data = torch.tensor(logits), torch.tensor(target), torch.tensor(weights)
    assert expression_loss(*data).item() == pytest.approx(terms.mean(), rel=1e-12)
    by_weight = expression_loss(*data, divide_by="weights").item()
    assert by_weight == pytest.approx(terms.sum() / weights[target[known]].sum(), rel=1e-12)


def test_split_outputs():
    outputs = torch.arange(20.0).reshape(2, 10)
    logits, valence_arousal = split_outputs(outputs, 8)
    assert torch.equal(logits, outputs[:, :8])
    assert torch.equal(valence_arousal, outputs[:, 8:])
    assert split_outputs(outputs, 10)[1].shape == (2, 0)
    assert torch.equal(split_outputs(outputs, 6)[1], outputs[:, 6:8])  # what follows is neither


def test_a_single_labelled_sample_is_averaged_over_itself():
    logits, target = torch.tensor([[2.0, 0.0], [5.0, -5.0]]), torch.tensor([1, -1])
    expected = torch.log1p(torch.exp(torch.tensor(2.0)))  # -log softmax of the second class
    torch.testing.assert_close(expression_loss(logits, target), expected)
