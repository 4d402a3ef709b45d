"""Predict pass that extracts features and outputs of a frozen backbone."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from affect.networks.backbone import Backbone


class FeatureExtraction(pl.LightningModule):
    """Compute rows of pooled features followed by task outputs.

    Args:
        backbone: The network; it is not changed.
        engine: Computes pooled features, (B, num_features), from normalised images, faster on the CPU than the
            backbone's encoder; None uses the encoder.
    """

    def __init__(self, backbone: Backbone, engine: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.engine = engine

    def predict_step(self, batch: dict[str, Any], batch_idx: int = 0) -> Tensor:
        """Compute the rows of a batch, shape (B, num_features + num_outputs), float32."""
        encode = self.engine or self.backbone.forward_features
        features = encode(batch["image"])
        if isinstance(self.backbone.classifier, nn.Identity):
            return features.float()
        return torch.cat([features, self.backbone.classifier(features)], 1).float()
