"""Fine-tuning on synthetic faces: a new classifier on the pre-trained encoder (arXiv 2207.09508, section 3.3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affect.losses import expression_loss
from affect.metrics import ExpressionMetrics
from affect.networks.backbone import Backbone
from lightning_modules.sam_training import SamTrainingModule


class FinetuningModule(SamTrainingModule):
    """Train expression logits by one linear layer on a timm encoder.

    Args:
        architecture: timm name of the encoder.
        expressions: Names of the expressions, in label order.
        class_weights: One weight per expression; None weighs all equally.
        sam_rho: Radius of SAM's neighbourhood; 0 trains with plain Adam.
        label_smoothing: Share of the target spread over all classes.
        gradient_clip_norm: Largest norm of the gradient; None disables clipping.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        architecture: str,
        expressions: Sequence[str],
        class_weights: Sequence[float] | None = None,
        sam_rho: float = 0.05,
        label_smoothing: float = 0.1,
        gradient_clip_norm: float | None = None,
    ) -> None:
        super().__init__(Backbone(architecture, len(expressions)), sam_rho, gradient_clip_norm)
        self.save_hyperparameters({
            "architecture": architecture,
            "expressions": list(expressions),
            "class_weights": None if class_weights is None else [float(weight) for weight in class_weights],
            "sam_rho": sam_rho,
            "label_smoothing": label_smoothing,
            "gradient_clip_norm": gradient_clip_norm,
        })  # fmt: skip
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.label_smoothing = label_smoothing
        self.metrics = ExpressionMetrics(expressions)

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the mean over images of the class-weighted, label-smoothed cross entropy."""
        # In float32 under autocast too.
        loss = expression_loss(outputs.float(), batch["expression"], self.class_weights, self.label_smoothing)
        return {"loss": loss}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Score a batch and return its logits (B, C)."""
        logits = self(batch["image"]).float()
        self.metrics.update(logits, batch["expression"])
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, macro F1 and F1 of each class."""
        self.log_dict({f"val/{name}": value.float() for name, value in self.metrics.compute().items()})
        self.metrics.reset()
