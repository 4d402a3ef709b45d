"""Predict pass of several networks over the same images."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from affect.networks.backbone import Backbone


class EnsembleModule(pl.LightningModule):
    """Compute the outputs of each network; every image is read once.

    Args:
        backbones: The networks, which take images of the same size and normalisation; they are not changed.
    """

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones).eval().requires_grad_(False)

    def predict_step(self, batch: dict[str, Any], batch_idx: int = 0) -> tuple[list[str], list[Tensor]]:
        """Return names, and each network's outputs (B, K), float32."""
        return batch["name"], [backbone(batch["image"]).float() for backbone in self.backbones]
