import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.mtl_score import MultiTaskScore, multi_task_score
from affect.tasks import TASKS

Batch = dict[str, Tensor]


def reference(preds: Batch, target: Batch, thresholds: np.ndarray | float = 0.5) -> dict[str, float]:
    """P_MTL written down independently with NumPy moments and scikit-learn's F1, each label used where present."""
    scores = {}
    for column, name in enumerate(("valence", "arousal")):
        y = target["valence_arousal"][:, column].double().numpy()
        x, y = preds["valence_arousal"][:, column].double().numpy()[~np.isnan(y)], y[~np.isnan(y)]
        bottom = x.var() + y.var() + (x.mean() - y.mean()) ** 2
        scores[f"{name}_ccc"] = 2 * np.cov(x, y, bias=True)[0, 1] / bottom if bottom > 1e-15 else 0.0
    keep = target["expression"].numpy() >= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1 = f1_score(
            target["expression"].numpy()[keep], preds["expression"].argmax(1).numpy()[keep],
            average=None, labels=range(8), zero_division=0,
        )  # fmt: skip
        units = []
        for unit in range(12):
            label = target["action_units"][:, unit].numpy()
            active = preds["action_units"][:, unit].double().numpy() >= np.broadcast_to(thresholds, 12)[unit]
            known = ~np.isnan(label)
            units.append(f1_score(label[known], active[known], zero_division=0))
    scores["expression_f1"] = f1.mean()
    scores["expression_accuracy"] = accuracy_score(
        target["expression"].numpy()[keep], preds["expression"].argmax(1).numpy()[keep]
    )
    scores |= {f"expression_f1/{name}": value for name, value in zip(AFFWILD2_EXPRESSIONS, f1, strict=True)}
    scores["au_f1"] = np.mean(units)
    scores |= {f"au_f1/{name}": value for name, value in zip(ACTION_UNITS, units, strict=True)}
    ccc = (scores["valence_ccc"] + scores["arousal_ccc"]) / 2
    scores["mtl_score"] = ccc + scores["expression_f1"] + scores["au_f1"]
    return scores


def random_set(seed: int, size: int = 500) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    preds = {
        "valence_arousal": uniform(size, 2) * 2 - 1,
        "expression": uniform(size, 8),
        "action_units": (uniform(size, 12) * 20).round() / 20,  # many probabilities equal to a threshold
    }
    values = (preds["valence_arousal"] + uniform(size, 2) - 0.5).clamp(-1, 1)
    values[uniform(size) < 0.3] = torch.nan
    units = (uniform(size, 12) < 0.3).float()
    units[uniform(size) < 0.3] = torch.nan
    units[uniform(size, 12) < 0.05] = torch.nan
    expression = torch.randint(-1, 8, (size,), generator=generator)
    return preds, {"valence_arousal": values, "expression": expression, "action_units": units}


def assert_equal(found: dict[str, float], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_reference(seed: int) -> None:
    preds, target = random_set(seed)
    assert_equal(multi_task_score(preds, target), reference(preds, target))
    grid = np.arange(1, 10) / 10
    thresholds = np.random.default_rng(seed).choice(grid, 12)
    assert_equal(multi_task_score(preds, target, thresholds.tolist()), reference(preds, target, thresholds))


@pytest.mark.parametrize("size", [1, 7, 128, 499])
def test_batches_of_any_size_give_the_same(size: int) -> None:
    preds, target = random_set(1)
    metric = MultiTaskScore()
    for start in range(0, 500, size):
        part = slice(start, start + size)
        metric.update({k: v[part] for k, v in preds.items()}, {k: v[part] for k, v in target.items()})
    assert_equal({k: float(v) for k, v in metric.compute().items()}, reference(preds, target))


def test_edges_agree_with_the_reference() -> None:
    preds, target = random_set(2, 60)
    target["expression"] = target["expression"].clamp(max=2)  # five classes absent from the labels
    preds["expression"][:, 2:] = -1  # and never predicted
    preds["valence_arousal"][:, 0] = 0.3  # constant
    target["action_units"][:, 4] = 0  # an action unit neither present
    preds["action_units"][:, 4] = 0.1  # nor predicted
    expected = reference(preds, target)
    assert_equal(multi_task_score(preds, target), expected)
    assert expected["expression_f1/Other"] == expected["au_f1/AU7"] == expected["valence_ccc"] == 0


def test_labels_that_do_not_vary_have_no_ccc() -> None:
    values = torch.full((10_001, 2), 0.3)
    preds = torch.linspace(-1, 1, 10_001)[:, None].repeat(1, 2)
    for given in (values, preds):
        assert multi_task_score({"valence_arousal": given}, {"valence_arousal": values}) == {}
    values[7, 1] += 1e-6  # one label of 10,001 a little off is enough
    scores = multi_task_score({"valence_arousal": preds}, {"valence_arousal": values})
    assert set(scores) == {"arousal_ccc"}
    constant = multi_task_score({"valence_arousal": values[:1].expand_as(values)}, {"valence_arousal": values})
    assert constant == {"arousal_ccc": 0}
    assert scores["arousal_ccc"] == pytest.approx(0, abs=1e-6)


def test_two_parts_of_constant_labels_vary_together() -> None:
    metric = MultiTaskScore(tasks=["valence_arousal"])
    for value in (0.25, 0.5):
        labels = torch.full((3, 2), value)
        metric.update({"valence_arousal": labels}, {"valence_arousal": labels})
    assert float(metric.compute()["va_ccc"]) == pytest.approx(1)


def test_of_a_single_frame_only_what_can_be_measured_is_scored() -> None:
    preds, target = random_set(3, 1)
    target = {
        "valence_arousal": torch.tensor([[0.1, 0.2]]),
        "expression": preds["expression"].argmax(1),
        "action_units": torch.ones(1, 12),
    }
    preds["action_units"][:] = 0.5  # equal to the threshold counts as active
    scores = multi_task_score(preds, target)
    assert not {"valence_ccc", "arousal_ccc", "va_ccc", "mtl_score"} & set(scores)
    assert scores["expression_f1"] == 1 / 8
    assert scores["au_f1"] == 1


def test_a_column_or_unit_without_labels_is_absent_and_with_it_the_mean() -> None:
    preds, target = random_set(5)
    whole = reference(preds, target)
    target["valence_arousal"][:, 1] = torch.nan
    target["action_units"][:, 5] = torch.nan
    scores = multi_task_score(preds, target)
    absent = {"arousal_ccc", "au_f1", f"au_f1/{ACTION_UNITS[5]}", "mtl_score"}
    assert set(whole) - set(scores) == absent
    assert "va_ccc" not in scores
    assert_equal(scores, {name: value for name, value in whole.items() if name not in absent})


def test_a_probability_equal_to_a_threshold_is_active_in_any_precision() -> None:
    units = torch.ones(1, 12)
    for threshold in np.arange(1, 10) / 10:
        for preds in (torch.full((1, 12), threshold), torch.full((1, 12), threshold, dtype=torch.float64)):
            thresholds = [float(preds[0, 0])] * 12
            assert multi_task_score({"action_units": preds}, {"action_units": units}, thresholds)["au_f1"] == 1


def test_a_task_without_labels_is_absent() -> None:
    preds, target = random_set(4)
    target["expression"][:] = -1
    scores = multi_task_score(preds, target)
    assert "expression_f1" not in scores
    assert "mtl_score" not in scores
    assert "au_f1" in scores
    target["valence_arousal"][:] = torch.nan
    target["action_units"][:] = torch.nan
    assert multi_task_score(preds, target) == {}


def test_memory_does_not_grow() -> None:
    metric = MultiTaskScore()
    for seed in range(3):
        metric.update(*random_set(seed))
    states = [state for part in metric.parts.values() for state in part.metric_state.values()]
    assert sum(state.numel() for state in states) < 150
    metric.reset()
    assert metric.compute() == {}


def test_nan_predictions_are_refused_only_where_there_is_a_label() -> None:
    preds, target = random_set(5)
    preds["valence_arousal"][target["valence_arousal"].isnan()] = torch.nan
    assert_equal(multi_task_score(preds, target), reference(preds, target))
    preds["action_units"][:] = torch.nan
    with pytest.raises(ValueError, match="action_units: a prediction for a labelled frame is NaN"):
        multi_task_score(preds, target)


def test_frames_are_counted_exactly_beyond_what_float32_can_count() -> None:
    metric = MultiTaskScore(tasks=["expression", "action_units"])
    target = {"expression": torch.tensor([2]), "action_units": torch.ones(1, 12)}
    preds = {"expression": torch.eye(8)[[2]], "action_units": torch.ones(1, 12)}
    metric.update(preds, target)
    metric.parts["expression"].confusion *= 2**24
    metric.parts["action_units"].detections *= 2**24
    metric.update(preds, target)
    assert int(metric.parts["expression"].confusion.sum()) == 2**24 + 1
    assert metric.parts["action_units"].detections.unique().tolist() == [2**24 + 1]


def test_a_checkpoint_holds_nothing_of_the_metric() -> None:
    assert not MultiTaskScore([0.3] * 12).state_dict()


@pytest.mark.parametrize("task", TASKS)
def test_errors_name_the_task(task: str) -> None:
    preds, target = random_set(5, 20)
    with pytest.raises(ValueError, match=f"^{task}: predictions of shape"):
        multi_task_score({task: preds[task][1:]}, {task: target[task]})
    with pytest.raises(ValueError, match=f"^{task}: predictions of shape"):
        multi_task_score({task: preds[task].repeat(1, 2)}, {task: target[task]})
    preds[task][:] = torch.nan
    with pytest.raises(ValueError, match=f"^{task}: a prediction for a labelled frame is NaN"):
        multi_task_score({task: preds[task]}, {task: target[task]})


def test_perfect_predictions_reach_three() -> None:
    _, target = random_set(6)
    perfect = {
        "valence_arousal": target["valence_arousal"],
        "expression": torch.nn.functional.one_hot(target["expression"].clamp(min=0), 8).float(),
        "action_units": target["action_units"],
    }
    assert multi_task_score(perfect, target)["mtl_score"] == pytest.approx(3)


def _score_share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    preds, target = random_set(7)
    share = slice(0, 333) if rank == 0 else slice(333, None)  # uneven shares
    metric = MultiTaskScore()
    metric.update({k: v[share] for k, v in preds.items()}, {k: v[share] for k, v in target.items()})
    torch.save({k: float(v) for k, v in metric.compute().items()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(  # forked: importing torch anew takes longer than the test
        _score_share, args=(str(tmp_path),), nprocs=2, start_method="fork"
    )
    expected = reference(*random_set(7))
    for rank in range(2):
        assert_equal(torch.load(tmp_path / f"{rank}.pt", weights_only=True), expected)
