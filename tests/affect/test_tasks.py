import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from affect.labels import AFFWILD2_EXPRESSIONS
from affect.losses import balanced_unit_loss, balanced_unit_weights, valence_arousal_loss
from affect.tasks import TASKS, Task, TaskLoss, predictions


def random_units(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(200, 12, generator=generator) < torch.linspace(0.05, 0.7, 12)).float()
    target[torch.rand(200, generator=generator) < 0.3] = torch.nan
    target[:, 3][torch.rand(200, generator=generator) < 0.3] = torch.nan
    return torch.randn(200, 12, generator=generator), target


def test_unit_loss_agrees_with_scikit_learn() -> None:
    logits, target = random_units()
    total, count = 0.0, 0
    for unit in range(12):
        known = ~target[:, unit].isnan()
        label = target[known, unit].numpy()
        weight = compute_sample_weight("balanced", label)
        chance = torch.sigmoid(logits[known, unit].double()).numpy()
        total += log_loss(label, chance, sample_weight=weight, normalize=False, labels=[0, 1])
        count += len(label)
    found = balanced_unit_loss(logits, target, balanced_unit_weights(target))
    assert float(found) == pytest.approx(total / count, rel=1e-5)


def test_unit_weights_make_both_sides_weigh_as_much() -> None:
    _, target = random_units(1)
    weights = balanced_unit_weights(target)
    counts = torch.stack([(target == 0).sum(0), (target == 1).sum(0)])
    torch.testing.assert_close(weights[0] * counts[0], weights[1] * counts[1])
    target[:, 5] = 0
    target[:, 6] = torch.nan
    weights = balanced_unit_weights(target)
    np.testing.assert_array_equal(weights[:, 5:7], [[0.5, 0], [0, 0]])


def test_a_single_label_counts() -> None:
    target = torch.full((4, 12), torch.nan)
    target[:, 0] = torch.tensor([1.0, 0, 0, 0])
    weights = balanced_unit_weights(target)
    torch.testing.assert_close(weights[:, 0], torch.tensor([4 / 6, 4 / 2]))
    alone = torch.full((4, 12), torch.nan)
    alone[2, 0] = 1
    logits = torch.linspace(-1, 1, 48).reshape(4, 12)
    expected = 2 * np.log1p(np.exp(-logits[2, 0].item()))
    assert float(balanced_unit_loss(logits, alone, weights)) == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_all_tasks_has_the_weights_it_was_given() -> None:
    logits, target = random_units(3)
    weights = torch.rand(2, 12) + 0.5
    found = TaskLoss({"expression": torch.ones(8), "action_units": weights})("action_units", logits, target)
    torch.testing.assert_close(found, balanced_unit_loss(logits, target, weights))
    plain = TaskLoss()("action_units", logits, target)
    known = ~target.isnan()
    chance = torch.sigmoid(logits[known].double()).numpy()
    assert float(plain) == pytest.approx(log_loss(target[known].numpy(), chance), rel=1e-5)
    assert not TaskLoss({"expression": torch.ones(8), "action_units": weights}).state_dict(), (
        "weights belong to the data"
    )


def test_two_labelled_rows_have_a_correlation() -> None:
    target = torch.tensor([[0.1, -0.4], [0.5, 0.2], [torch.nan, 0.0]])
    preds = torch.tensor([[0.2, 0.1], [0.4, -0.1], [0.9, 0.9]])
    # Valence: means .3 and .3, variances .01 and .04, covariance .02; arousal: 0, -.1, .01, .09, -.03.
    expected = 1 - (2 * 0.02 / 0.05 + 2 * -0.03 / (0.1 + 0.01)) / 2
    assert float(valence_arousal_loss(preds, target)) == pytest.approx(expected, rel=1e-5)
    assert float(valence_arousal_loss(preds[1:], target[1:])) == 0


def test_missing_labels_have_no_gradient() -> None:
    logits, target = random_units(2)
    logits.requires_grad_()
    balanced_unit_loss(logits, target, balanced_unit_weights(target)).backward()
    assert not logits.grad.isnan().any()
    assert ((logits.grad != 0) == ~target.isnan()).all()


def test_valence_arousal_loss() -> None:
    target = torch.rand(50, 2) * 2 - 1
    assert float(valence_arousal_loss(target, target)) == pytest.approx(0, abs=1e-6)
    assert float(valence_arousal_loss(-(target - target.mean(0)) + target.mean(0), target)) == pytest.approx(
        2, abs=1e-5
    )
    part = target.clone()
    part[::2, 0] = torch.nan
    preds = torch.randn(50, 2)
    torch.testing.assert_close(valence_arousal_loss(preds, part), valence_arousal_loss(preds[1::2], target[1::2]))


def test_nothing_labelled_gives_zero_with_a_graph() -> None:
    loss = TaskLoss({"expression": torch.ones(8)})
    target = {
        "valence_arousal": torch.full((3, 2), torch.nan),
        "expression": torch.full((3,), -1),
        "action_units": torch.full((3, 12), torch.nan),
    }
    outputs = {
        "valence_arousal": torch.randn(3, 2, requires_grad=True),
        "expression": torch.randn(3, 8, requires_grad=True),
        "action_units": torch.randn(3, 12, requires_grad=True),
    }
    for value in loss.total(outputs, target).values():
        assert value == 0
        value.backward()
    assert all(not preds.grad.any() for preds in outputs.values())


def test_expression_loss_is_the_mean_over_labelled_rows_of_weight_times_loss() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(40, 8)), rng.integers(-1, 8, 40)
    weights = np.array([1.0, 5.5, 7.8, 8.0, 1.4, 3.3, 4.8, 1.0])
    terms = []
    for row, label in zip(logits, target, strict=True):
        if label >= 0:
            chances = np.exp(row) / np.exp(row).sum()
            terms.append(-weights[label] * np.log(chances[label]))
    found = TaskLoss({"expression": torch.tensor(weights)})("expression", torch.tensor(logits), torch.tensor(target))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-12)


LABELS = {
    "valence_arousal": torch.tensor([[0.1, -0.2], [torch.nan, torch.nan], [0.3, torch.nan], [0.5, 0.4]]),
    "expression": torch.tensor([2, -1, 0, 7]),
    "action_units": torch.tensor([[1.0] * 12, [torch.nan] * 12, [0.0] + [torch.nan] * 11, [0.0] * 12]),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_task_is_consistent(task: Task) -> None:
    assert TASKS[task.name] is task
    assert task.width == len(task.outputs) == len(task.neutral)
    target = LABELS[task.name]
    torch.manual_seed(0)
    outputs = torch.randn(4, task.width, requires_grad=True)
    preds = task.predictions(outputs.tanh() if task.bounded else outputs)
    assert preds.shape == outputs.shape
    assert preds.abs().max() <= 1
    loss = task.loss(outputs, target, task.label_weights(target))
    loss.backward()
    assert loss > 0
    assert torch.equal(outputs.grad.any(1), task.labelled(target)), "labelled rows alone have a gradient"
    metric = task.metric()
    metric.update(preds.detach(), target)
    scores = metric.compute()
    assert {task.score, *task.measures} <= set(scores)
    assert task.monitor[0] in {*scores, f"{task.name}_loss"}


def test_labelled_rows_have_both_values_or_any_unit() -> None:
    labelled = {task: TASKS[task].labelled(target).tolist() for task, target in LABELS.items()}
    assert labelled == {
        "valence_arousal": [True, False, False, True],
        "expression": [True, False, True, True],
        "action_units": [True, False, True, True],
    }


def test_label_weights_are_the_published_ones() -> None:
    expression = torch.tensor([0, 0, 0, 0, 1, 1, -1, 7])
    assert TASKS["expression"].label_weights(expression).tolist() == [1, 2, 0, 0, 0, 0, 0, 4]
    assert torch.equal(
        TASKS["action_units"].label_weights(LABELS["action_units"]),
        balanced_unit_weights(LABELS["action_units"]),
    )
    assert TASKS["valence_arousal"].label_weights(LABELS["valence_arousal"]) is None


def test_the_neutral_prediction_is_the_neutral_expression_and_zero() -> None:
    assert AFFWILD2_EXPRESSIONS[TASKS["expression"].neutral.argmax()] == "Neutral"
    assert TASKS["expression"].neutral.sum() == 1
    assert not TASKS["valence_arousal"].neutral.any()
    assert not TASKS["action_units"].neutral.any()


def test_predictions_are_probabilities_and_values() -> None:
    outputs = {task: torch.randn(5, TASKS[task].width) for task in TASKS}
    found = predictions(outputs)
    torch.testing.assert_close(found["expression"].sum(1), torch.ones(5))
    expected = 1 / (1 + np.exp(-outputs["action_units"].numpy()))
    np.testing.assert_allclose(found["action_units"].numpy(), expected, rtol=1e-6)
    assert torch.equal(found["valence_arousal"], outputs["valence_arousal"])


def test_classes_without_a_label_have_a_weight_too() -> None:
    weights = TASKS["expression"].label_weights(torch.tensor([0, 0, 1, -1]))
    assert weights is not None
    assert weights.tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
