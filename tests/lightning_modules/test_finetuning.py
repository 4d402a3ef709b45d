import numpy as np
import pytest
import torch

from affect.losses import mean_frequency_weights
from lightning_modules.finetuning import FinetuningModule

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_images_of_weighted_smoothed_cross_entropy(
    tiny_architecture: str, smoothing: float
) -> None:
    weights = mean_frequency_weights([10, 20, 30])
    np.testing.assert_allclose(weights, [2.0, 1.0, 2 / 3], rtol=1e-6)
    module = FinetuningModule(tiny_architecture, CLASSES, weights.tolist(), label_smoothing=smoothing)
    logits = np.random.default_rng(0).normal(size=(7, 3))
    target = np.array([0, 1, 2, 2, 1, 0, 0])
    log_chances = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smoothed = (1 - smoothing) * np.eye(3)[target] + smoothing / 3
    expected = -(np.array([2.0, 1.0, 2 / 3]) * smoothed * log_chances).sum(1).mean()
    losses = module.compute_losses(torch.tensor(logits), {"expression": torch.tensor(target)})
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-6)


def test_an_image_without_label_does_not_count(tiny_architecture: str) -> None:
    module = FinetuningModule(tiny_architecture, CLASSES, [2.0, 1.0, 0.5])
    logits, target = torch.randn(4, 3), torch.tensor([0, -1, 2, -1])
    found = module.compute_losses(logits, {"expression": target})["loss"]
    labelled = module.compute_losses(logits[::2], {"expression": target[::2]})["loss"]
    torch.testing.assert_close(found, labelled)
