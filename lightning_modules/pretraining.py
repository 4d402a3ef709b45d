"""Multi-task pretraining on AffectNet: expressions and valence/arousal together (arXiv 2207.09508, section 3.1)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affect.labels import VALENCE_AROUSAL
from affect.losses import MultiTaskLoss, split_outputs
from affect.metrics import ExpressionMetrics, ValenceArousalMetrics
from affect.networks.backbone import Backbone
from lightning_modules.sam_training import SamTrainingModule


class PretrainingModule(SamTrainingModule):
    """Train expression logits, valence and arousal by one linear layer on a timm encoder.

    Args:
        architecture: timm name of the encoder.
        expressions: Names of the expressions, in label order.
        class_weights: One weight per expression; None weighs all equally.
        sam_rho: Radius of SAM's neighbourhood; 0 trains with plain Adam.
        label_smoothing: Share of the target spread over all classes.
        gradient_clip_norm: Largest norm of the gradient; None disables clipping.
        hub_weights: Start the encoder from timm's published weights.
    """

    loss_terms = ("expression", "valence", "arousal")

    def __init__(
        self,
        architecture: str,
        expressions: Sequence[str],
        class_weights: Sequence[float] | None = None,
        sam_rho: float = 0.05,
        label_smoothing: float = 0.0,
        gradient_clip_norm: float | None = None,
        hub_weights: bool = False,
    ) -> None:
        num_outputs = len(expressions) + len(VALENCE_AROUSAL)
        super().__init__(Backbone(architecture, num_outputs, hub_weights), sam_rho, gradient_clip_norm)
        self.save_hyperparameters({
            "architecture": architecture,
            "expressions": list(expressions),
            "class_weights": None if class_weights is None else [float(weight) for weight in class_weights],
            "sam_rho": sam_rho,
            "label_smoothing": label_smoothing,
            "gradient_clip_norm": gradient_clip_norm,
        })  # fmt: skip
        self.num_expressions = len(expressions)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.loss = MultiTaskLoss(self.num_expressions, weights, label_smoothing)
        without = "Contempt" if "Contempt" in expressions else None
        self.expression_metrics = ExpressionMetrics(expressions, without)
        self.valence_arousal_metrics = ValenceArousalMetrics()

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute cross entropy and the two CCC losses, each over the samples that have its label."""
        return self.loss(outputs, batch["expression"], batch["valence_arousal"])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Score a batch and return its outputs (B, C + 2)."""
        outputs = self(batch["image"]).float()
        logits, valence_arousal = split_outputs(outputs, self.num_expressions)
        self.expression_metrics.update(logits, batch["expression"])
        self.valence_arousal_metrics.update(valence_arousal, batch["valence_arousal"])
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's scores, without those that have no labels."""
        scores = {**self.expression_metrics.compute(), **self.valence_arousal_metrics.compute()}
        self.log_dict({f"val/{name}": value.float() for name, value in scores.items()})
        self.expression_metrics.reset()
        self.valence_arousal_metrics.reset()
