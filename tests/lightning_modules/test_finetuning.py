import torch
import torch.nn.functional as F

from affect.losses import mean_frequency_weights
from lightning_modules.finetuning import FinetuningModule

CLASSES = ("a", "b", "c")


def test_the_loss_is_weighted_smoothed_cross_entropy(tiny_architecture: str) -> None:
    weights = mean_frequency_weights([10, 20, 30])
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.0, 2 / 3]))
    module = FinetuningModule(tiny_architecture, CLASSES, weights.tolist(), label_smoothing=0.1)
    logits, target = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    losses = module.compute_losses(logits, {"expression": target})
    torch.testing.assert_close(losses["loss"], F.cross_entropy(logits, target, weights, label_smoothing=0.1))
