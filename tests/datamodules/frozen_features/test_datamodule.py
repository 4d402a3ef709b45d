from itertools import chain

import numpy as np
import pytest
import torch

from affect.errors import UserError
from datamodules.frozen_features.batches import Slices, StepGroups, TaskBatches, gather_rows
from datamodules.frozen_features.datamodule import FeatureDataModule
from datamodules.frozen_features.table import FeatureTable, feature_table

SIZE = 300


@pytest.fixture
def table() -> FeatureTable:
    random = np.random.default_rng(0)
    features = np.arange(SIZE, dtype=np.float32)[:, None].repeat(4, 1)  # the row's number tells where it went
    features[7] = features[200] = np.nan
    values = random.uniform(-1, 1, (SIZE, 2)).astype(np.float32)
    values[::3] = np.nan
    values[1, 0] = np.nan
    units = (random.random((SIZE, 12)) < 0.3).astype(np.float32)
    units[::4] = np.nan
    units[2, :5] = np.nan
    labels = {
        "expression": random.integers(-1, 8, SIZE),
        "valence_arousal": values,
        "action_units": units,
    }
    return feature_table(features, labels, [f"v/{row}.jpg" for row in range(SIZE)])


def test_rows_without_image_are_nan_and_never_trained_on(table: FeatureTable) -> None:
    assert not table.present[7]
    assert table.feature[7].isnan().all()
    for task in ("expression", "valence_arousal", "action_units"):
        rows = table.labelled(task).tolist()
        assert not {7, 200} & set(rows)
    expected = [row for row in range(SIZE) if table.labels["expression"][row] >= 0 and row not in (7, 200)]
    assert table.labelled("expression").tolist() == expected
    assert 1 not in table.labelled("valence_arousal")
    assert 2 in table.labelled("action_units"), "some action units are labelled"


def test_an_epoch_gives_each_task_its_own_rows_once(table: FeatureTable) -> None:
    module = FeatureDataModule(table, None, dict.fromkeys(table.labels, 1), batch_size=64, seed=3)
    seen: dict[str, list[int]] = {task: [] for task in table.labels}
    steps = 0
    for batch in chain.from_iterable(module.train_dataloader()):
        steps += 1
        for task, part in batch.items():
            rows = part["feature"][:, 0].long()
            torch.testing.assert_close(part[task], table.labels[task][rows], equal_nan=True)
            seen[task] += rows.tolist()
    assert steps == -(-max(len(rows) for rows in module.rows.values()) // 64)
    for task, rows in seen.items():
        assert sorted(rows) == table.labelled(task).tolist()
        assert rows != sorted(rows)


def test_orders_differ_by_seed_and_repeat_with_it(table: FeatureTable) -> None:
    def order(seed: int) -> list[float]:
        batches = TaskBatches(table, {"expression": table.labelled("expression")}, 50, seed)
        return torch.cat([batch["expression"]["feature"][:, 0] for batch in batches]).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)


class _Trainer:
    def __init__(self, epoch: int) -> None:
        self.current_epoch = epoch


def test_tasks_stop_after_their_own_epochs(table: FeatureTable) -> None:
    epochs = {"expression": 1, "valence_arousal": 3, "action_units": 2}
    module = FeatureDataModule(table, None, epochs, batch_size=64)
    for epoch, tasks in (
        (0, set(epochs)),
        (1, {"valence_arousal", "action_units"}),
        (2, {"valence_arousal"}),
    ):
        module.trainer = _Trainer(epoch)  # type: ignore[assignment]
        assert set(next(chain.from_iterable(module.train_dataloader()))) == tasks


def test_joint_batches_hold_all_labels(table: FeatureTable) -> None:
    module = FeatureDataModule(table, None, {"joint": 1}, batch_size=64, tasks={"joint": tuple(table.labels)})
    rows = []
    for batch in chain.from_iterable(module.train_dataloader()):
        assert set(batch) == {"joint"}
        assert set(batch["joint"]) == {"feature", "expression", "valence_arousal", "action_units"}
        rows += batch["joint"]["feature"][:, 0].long().tolist()
    assert sorted(rows) == [row for row in range(SIZE) if row not in (7, 200)]


def test_groups_of_steps_are_the_same_batches_on_the_device(table: FeatureTable) -> None:
    batches = TaskBatches(table, {task: table.labelled(task) for task in table.labels}, 20, seed=3)
    groups = StepGroups(batches, size=4)
    assert len(list(groups)) == len(groups) == -(-len(batches) // 4)
    assert max(len(list(group)) for group in groups) == 4
    for one, other in zip(batches, chain.from_iterable(groups), strict=True):
        assert one.keys() == other.keys()
        for task, part in one.items():
            torch.testing.assert_close(part, other[task], equal_nan=True)
    for limit, steps in ((6, 6), (0.5, len(batches) // 2), (0.001, 1), (10_000, len(batches))):
        limited = StepGroups(batches, limit, size=4)
        assert len(list(chain.from_iterable(limited))) == steps
        assert len(list(limited)) == len(limited)
    elsewhere = next(iter(next(iter(groups)).to(torch.device("meta"))))
    assert {value.device.type for part in elsewhere.values() for value in part.values()} == {"meta"}


def test_slices_keep_the_order(table: FeatureTable) -> None:
    slices = Slices(table, 128)
    parts = list(slices)
    assert len(parts) == len(slices) == 3
    torch.testing.assert_close(
        torch.cat([part["feature"] for part in parts]), table.feature, rtol=0, atol=0, equal_nan=True
    )
    assert torch.equal(torch.cat([part["expression"] for part in parts]), table.labels["expression"])


def test_heads_are_judged_on_rows_with_an_image(table: FeatureTable) -> None:
    data = FeatureDataModule(table, table, dict.fromkeys(table.labels, 1), batch_size=64)
    seen = torch.cat([part["feature"] for part in data.val_dataloader()])[:, 0].tolist()
    assert seen == [row for row in range(SIZE) if row not in (7, 200)]


def test_rows_are_taken_in_the_order_asked_for(table: FeatureTable) -> None:
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = feature_table(features, {}, ["c", "a", "c"], np.array([2, 0, 2]))
    np.testing.assert_array_equal(found.feature.numpy(), features[[2, 0, 2]])
    taken = table.take(torch.tensor([9, 7]))
    assert taken.name == ["v/9.jpg", "v/7.jpg"]
    assert taken.present.tolist() == [True, False]
    assert taken.labels["expression"].tolist() == table.labels["expression"][[9, 7]].tolist()


def test_joined_tables(table: FeatureTable) -> None:
    both = table.joined(table)
    assert len(both) == 2 * SIZE
    assert both.labelled("expression").tolist() == [
        *table.labelled("expression").tolist(),
        *(table.labelled("expression") + SIZE).tolist(),
    ]


def test_float16_features_become_float32() -> None:
    found = feature_table(np.full((3, 2), 0.1, np.float16), {}, ["a", "b", "c"])
    assert found.feature.dtype == torch.float32
    np.testing.assert_array_equal(found.feature.numpy(), np.float16(0.1).astype(np.float32))


def test_a_task_without_labels_is_refused(table: FeatureTable) -> None:
    table.labels["expression"][:] = -1
    with pytest.raises(UserError, match="expression"):
        FeatureDataModule(table, None, dict.fromkeys(table.labels, 1), batch_size=64)


@pytest.mark.parametrize("width", [1, 16, 1290])
def test_gathered_rows_begin_on_a_cache_line(width: int):
    feature = torch.randn(20, width)
    rows = torch.tensor([3, 3, 19, 0])
    gathered = gather_rows(feature, rows)
    torch.testing.assert_close(gathered, feature[rows], rtol=0, atol=0)
    assert gathered.stride(0) * gathered.element_size() % 64 == 0
    assert gathered.stride(0) - width < 16
