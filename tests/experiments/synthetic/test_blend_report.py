import numpy as np
import pytest
from sklearn.metrics import f1_score

from affect.calibration.network_blend import SPACES, cross_fitted_blend
from callbacks.validation_outputs import ValidationOutputs
from experiments.synthetic.blend_report import report_blend

CLASSES = ("a", "b", "c")


def outputs(logits: np.ndarray, target: np.ndarray, names: list[str] | None = None) -> ValidationOutputs:
    collected = ValidationOutputs()
    collected.names = names or [str(index) for index in range(len(target))]
    collected.outputs = logits
    collected.labels = {"expression": target}
    return collected


def test_the_best_weight_is_as_good_as_either_network_and_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 90)
    signal = np.eye(3)[target]
    first, second = (signal + rng.normal(0, 1, (90, 3)) for _ in range(2))
    report = report_blend(outputs(first, target), outputs(second, target), CLASSES)
    alone = [f1_score(target, logits.argmax(1), average="macro") for logits in (first, second)]
    assert report.metrics["val/expression_f1@blend"] >= max(alone)
    expected = f1_score(target, report.preds, average="macro")
    assert report.metrics["val/expression_f1@blend"] == pytest.approx(expected)
    assert report.curves["logits"].f1[[-1, 0]] == pytest.approx(alone)
    assert report.metrics["blend/weight"] == report.weight


def test_the_cross_fitted_figure_chooses_the_space_in_each_fold() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 60)
    first, second = rng.normal(size=(60, 3)), 6 * rng.normal(size=(60, 3))
    metrics = report_blend(outputs(first, target), outputs(second, target), CLASSES).metrics
    crossfit = metrics["val/expression_f1@blend_crossfit"]
    assert crossfit == cross_fitted_blend(first, second, target).f1
    for space in SPACES:  # as one space for all folds would give
        assert crossfit != metrics[f"val/expression_f1@blend_{space}_crossfit"]


def test_other_images_are_refused() -> None:
    target = np.array([0, 1, 2, 0, 1, 2])
    logits = np.eye(3)[target]
    with pytest.raises(ValueError, match="different images"):
        report_blend(outputs(logits, target), outputs(logits, target, list("abcdef")), CLASSES)


def test_people_are_not_split_among_folds_where_they_are_known() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 3, 80)
    first, second = rng.normal(size=(80, 3)), rng.normal(size=(80, 3))
    person = rng.integers(0, 8, 80)
    collected = outputs(first, target), outputs(second, target)
    people = {name: f"person {number}" for name, number in zip(collected[0].names, person, strict=True)}
    report = report_blend(*collected, CLASSES, people)
    expected = cross_fitted_blend(first, second, target, group=person)
    assert report.folds == "people"
    assert report.metrics["val/expression_f1@blend_crossfit"] == expected.f1
    accuracy = (expected.preds == target).mean()
    assert report.metrics["val/expression_accuracy@blend_crossfit"] == pytest.approx(accuracy)
    assert report.metrics["val/expression_f1/b@blend_crossfit"] == expected.f1_per_class[1]
    stratified = report_blend(*collected, CLASSES)
    assert stratified.folds == "images"
    assert stratified.metrics["val/expression_f1@blend_crossfit"] != expected.f1


def test_a_few_people_give_as_many_folds_and_a_single_one_none() -> None:
    rng = np.random.default_rng(4)
    target = rng.integers(0, 3, 40)
    first, second = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    collected = outputs(first, target), outputs(second, target)
    person = np.arange(40) % 2
    two = report_blend(*collected, CLASSES, {name: str(int(name) % 2) for name in collected[0].names})
    expected = cross_fitted_blend(first, second, target, group=person, num_folds=2)
    assert two.metrics["val/expression_f1@blend_crossfit"] == expected.f1
    assert report_blend(*collected, CLASSES, dict.fromkeys(collected[0].names, "one")).folds == "images"
