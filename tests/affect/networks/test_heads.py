import pytest
import torch
from torch import nn

from affect.errors import InvalidOptionError
from affect.networks.heads import NETWORKS, create_heads, input_columns
from affect.tasks import TASKS

WIDTH = {"valence_arousal": 2, "expression": 8, "action_units": 12}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("inputs", ["features", "outputs", "both"])
def test_every_network_gives_every_task(network: str, inputs: str) -> None:
    heads = create_heads(network, inputs, 20, 10)  # type: ignore[arg-type]
    outputs = heads(torch.randn(5, 30) * 4)
    assert {task: tuple(values.shape) for task, values in outputs.items()} == {task: (5, WIDTH[task]) for task in TASKS}
    assert outputs["valence_arousal"].abs().max() <= 1


def dependence(heads: nn.Module, task: str) -> set[str]:
    """Which parts of the row a task's output changes with."""
    feature = torch.randn(1, 30, requires_grad=True)
    heads(feature)[task].square().sum().backward()
    used = feature.grad[0] != 0
    return {part for part, columns in (("features", slice(0, 20)), ("outputs", slice(20, 30))) if used[columns].any()}


def test_the_slice_network_shows_outputs_only_to_valence_arousal() -> None:
    heads = create_heads("slice", "both", 20, 10)
    assert dependence(heads, "valence_arousal") == {"outputs"}
    assert dependence(heads, "expression") == dependence(heads, "action_units") == {"features", "outputs"}


@pytest.mark.parametrize("network", ["separate", "joint"])
def test_networks_see_the_configured_inputs(network: str) -> None:
    for inputs, parts in (
        ("features", {"features"}),
        ("outputs", {"outputs"}),
        ("both", {"features", "outputs"}),
    ):
        heads = create_heads(network, inputs, 20, 10)  # type: ignore[arg-type]
        assert all(dependence(heads, task) == parts for task in TASKS)


def test_published_shapes() -> None:
    heads = create_heads("slice", "both", 1280, 10)
    shapes = {name: tuple(parameter.shape) for name, parameter in heads.named_parameters() if "weight" in name}
    assert shapes == {
        "heads.valence_arousal.0.weight": (2, 10),
        "heads.expression.weight": (8, 1290),
        "heads.action_units.0.weight": (128, 1290),
        "heads.action_units.2.weight": (12, 128),
    }


@pytest.mark.parametrize(("num_hidden", "shapes"), [(7, [(7, 30), (7,), (12, 7), (12,)]), (0, [(12, 30), (12,)])])
def test_the_hidden_layer_of_the_units_has_the_given_width(num_hidden: int, shapes: list[tuple[int, ...]]) -> None:
    heads = create_heads("slice", "both", 20, 10, num_hidden)
    assert [tuple(values.shape) for values in heads.heads["action_units"].parameters()] == shapes
    assert heads(torch.randn(5, 30))["action_units"].shape == (5, 12)


def test_inputs_name_all_columns_of_their_part() -> None:
    row = list(range(30))
    assert row[input_columns("features", 20, 10)] == list(range(20))
    assert row[input_columns("outputs", 20, 10)] == list(range(20, 30))
    assert row[input_columns("both", 20, 10)] == row


def test_joint_expressions_and_units_see_valence_and_arousal() -> None:
    heads = create_heads("joint", "both", 20, 10)
    feature = torch.randn(4, 30)
    before = heads(feature)
    with torch.no_grad():
        heads.valence_arousal.bias += 0.5
    after = heads(feature)
    assert all(not torch.equal(before[task], after[task]) for task in TASKS)


@pytest.mark.parametrize("network", NETWORKS)
def test_groups_cover_every_task_once_and_share_no_parameter(network: str) -> None:
    heads = create_heads(network, "both", 20, 10)
    feature = torch.randn(3, 30)
    whole = heads(feature)
    assert sorted(task for tasks in heads.groups.values() for task in tasks) == sorted(TASKS)
    used: list[int] = []
    for group, tasks in heads.groups.items():
        outputs = heads.forward_group(group, feature)
        assert set(outputs) == set(tasks)
        assert all(torch.equal(values, whole[task]) for task, values in outputs.items())
        part = heads.get_submodule(heads.monitor(group).submodule)
        used += [id(parameter) for parameter in part.parameters()]
        assert {id(weight) for weight in heads.penalised(group)} <= set(used)
        heads.zero_grad()
        torch.stack([values.sum() for values in outputs.values()]).sum().backward()
        trained = {id(weight) for weight in heads.parameters() if weight.grad is not None}
        assert trained == {id(parameter) for parameter in part.parameters()}
    assert sorted(used) == sorted(id(parameter) for parameter in heads.parameters())


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("slice", ["heads.expression.weight", "heads.valence_arousal.0.weight"]),
        ("joint", ["action_units.weight", "expression.weight", "valence_arousal.weight"]),
    ],
)
def test_weights_but_no_biases_have_the_penalty(network: str, expected: list[str]) -> None:
    heads = create_heads(network, "both", 20, 10)
    penalised = {id(weight) for group in heads.groups for weight in heads.penalised(group)}
    assert sorted(name for name, weight in heads.named_parameters() if id(weight) in penalised) == expected


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="unknown network 'slices'"):
        create_heads("slices", "both", 20, 10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown head input"):
        input_columns("all", 20, 10)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match=r"0 outputs: set heads\.inputs=features"):
        create_heads("slice", "both", 20, 0)


def test_the_joint_networks_epoch_is_chosen_by_its_loss() -> None:
    heads = create_heads("joint", "both", 4, 10)
    assert heads.monitor("joint") == ("", "joint_loss", "min")
