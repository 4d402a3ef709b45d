import pytest
import torch
from torch import Tensor

from affect.storage.unusable_tensors import unusable_tensors

WEIGHT, COUNT, FLAG = torch.zeros(2), torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "found", "wanted", "reason"),
    [
        ("weight", WEIGHT.to("meta"), WEIGHT, "is not a plain tensor (float32, torch.strided, on meta)"),
        ("weight", COUNT, WEIGHT, "is int64, not floating-point numbers of 16 bits or more"),
        ("running_var", torch.tensor([-1e-3, 1]), WEIGHT, "holds a negative variance"),
        ("running_var", torch.zeros(2), WEIGHT, None),
        ("weight", torch.tensor([-1.0, 1]), WEIGHT, None),
        ("weight", WEIGHT.half(), WEIGHT, None),
        ("count", WEIGHT, COUNT, "is float32, not int64"),
        ("count", WEIGHT.to(torch.complex64), COUNT, "is complex64, not int64"),
        ("count", FLAG, COUNT, "is bool, not int64"),
        ("count", COUNT.int(), COUNT, None),
        ("flag", COUNT, FLAG, "is int64, not bool"),
        ("flag", WEIGHT.to(torch.complex64), FLAG, "is complex64, not bool"),
        ("flag", FLAG, FLAG, None),
    ],
)
def test_tensors_of_another_kind_are_listed(name: str, found: Tensor, wanted: Tensor, reason: str | None) -> None:
    assert unusable_tensors({name: found}, {name: wanted}) == ([f"{name} {reason}"] if reason else [])


def test_reasons_are_sorted_and_names_on_one_side_only_are_ignored() -> None:
    bad = torch.full((2,), torch.nan)
    found = {"c": bad, "a": bad, "b": WEIGHT, "only here": bad}
    wanted = {"a": WEIGHT, "b": WEIGHT, "c": WEIGHT, "only there": WEIGHT}
    reason = "holds NaN or infinity as float32"
    assert unusable_tensors(found, wanted) == [f"a {reason}", f"c {reason}"]
