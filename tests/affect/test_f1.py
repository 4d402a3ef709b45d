import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from affect.f1 import f1_from_counts, f1_per_class


def test_f1_from_counts_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    present, predicted = rng.random((2, 50, 6)) < np.linspace(0, 0.6, 6)
    counts = (present & predicted).sum(0), predicted.sum(0), present.sum(0)
    expected = f1_score(present, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(f1_from_counts(*counts), expected, rtol=1e-15)
    tensors = [torch.from_numpy(count).double() for count in counts]
    np.testing.assert_allclose(f1_from_counts(*tensors).numpy(), expected, rtol=1e-15)
    assert expected[0] == 0, "neither present nor predicted"


def test_f1_per_class_of_a_confusion_matrix():
    confusion = torch.tensor([[3, 1, 0], [2, 0, 0], [0, 0, 0]])
    assert f1_per_class(confusion).tolist() == pytest.approx([6 / 9, 0, 0])
