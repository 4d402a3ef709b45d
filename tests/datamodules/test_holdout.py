from collections import Counter

import numpy as np
import pytest

from datamodules.holdout import HoldoutError, hold_out


def test_files_are_held_out_class_by_class() -> None:
    labels = ["a"] * 100 + ["b"] * 10 + ["c"]
    names = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    held_out = hold_out(names, labels, 0.2, 0)
    assert Counter(np.array(labels)[held_out]) == {"a": 20, "b": 2}  # of c none, since its only image is for training
    assert np.array_equal(hold_out(names, labels, 0.2, 0), held_out)
    assert not np.array_equal(hold_out(names, labels, 0.2, 1), held_out)


def test_the_order_of_the_files_does_not_matter_and_few_move_when_some_are_added() -> None:
    names, labels = [f"{number}.jpg" for number in range(200)], ["a", "b"] * 100
    chosen = {name for name, held in zip(names, hold_out(names, labels, 0.3, 5), strict=True) if held}
    backwards = hold_out(names[::-1], labels[::-1], 0.3, 5)
    assert {name for name, held in zip(names[::-1], backwards, strict=True) if held} == chosen
    more = [*names, *(f"new{number}.jpg" for number in range(10))]
    again = hold_out(more, [*labels, *["a", "b"] * 5], 0.3, 5)
    assert len(chosen - {name for name, held in zip(more, again, strict=True) if held}) <= 5


def test_people_stay_together_and_classes_keep_their_shares() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{number}" for number in range(60)], rng.integers(1, 20, 60))
    labels = rng.choice(["a", "b", "c"], len(people), p=[0.6, 0.3, 0.1])
    held_out = hold_out(people.tolist(), labels.tolist(), 0.25, 0)
    assert not set(people[held_out]) & set(people[~held_out])
    for label in "abc":
        assert held_out[labels == label].mean() == pytest.approx(0.25, abs=0.05)


def test_few_people_give_one_and_none_takes_a_whole_class() -> None:
    held_out = hold_out(["x", "x", "y", "y"], ["a", "b", "a", "b"], 0.1, 0)
    assert held_out.sum() == 2
    assert hold_out(["x", "y", "y", "z"], ["only", "b", "b", "b"], 0.5, 3)[0].item() is False
    with pytest.raises(HoldoutError, match="none of 2 can be held out"):
        hold_out(["x", "y"], ["a", "b"], 0.5, 0)
