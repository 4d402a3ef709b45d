"""Multi-task pretraining: expressions and valence/arousal together (arXiv 2207.09508, section 3.1)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL, index_map
from affect.losses import MultiTaskLoss, split_outputs
from affect.metrics import ExpressionMetrics, ValenceArousalMetrics
from affect.networks.backbone import Backbone
from lightning_modules.sam_training import SamTrainingModule


class PretrainingModule(SamTrainingModule):
    """Train expression logits, valence and arousal by one linear layer on a timm encoder.

    The network has only the outputs named here; labels of a dimension that it lacks are not used.

    Args:
        architecture: timm name of the encoder.
        expressions: Names of the expressions, in label order; empty for a network without expressions.
        class_weights: One weight per expression; None weighs all equally.
        sam_rho: Radius of SAM's neighbourhood; 0 trains with plain Adam.
        label_smoothing: Share of the target spread over all classes.
        gradient_clip_norm: Largest norm of the gradient; None disables clipping.
        hub_weights: Start the encoder from timm's published weights.
        dimensions: Which of valence and arousal are learnt, in this order.

    Attributes:
        monitor: The score that chooses the best epoch: accuracy, or the mean CCC of a network without expressions.
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
        dimensions: Sequence[str] = VALENCE_AROUSAL,
    ) -> None:
        num_outputs = len(expressions) + len(dimensions)
        super().__init__(Backbone(architecture, num_outputs, hub_weights), sam_rho, gradient_clip_norm)
        self.save_hyperparameters({
            "architecture": architecture,
            "expressions": list(expressions),
            "class_weights": None if class_weights is None else [float(weight) for weight in class_weights],
            "sam_rho": sam_rho,
            "label_smoothing": label_smoothing,
            "gradient_clip_norm": gradient_clip_norm,
            "dimensions": list(dimensions),
        })  # fmt: skip
        self.num_expressions = len(expressions)
        self.monitor = "val/expression_accuracy" if expressions else "val/ccc"
        self._columns = index_map(dimensions, VALENCE_AROUSAL).tolist()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.loss = MultiTaskLoss(self.num_expressions, weights, label_smoothing)
        without = "Contempt" if set(expressions) == set(BACKBONE_EXPRESSIONS) else None
        self.expression_metrics = ExpressionMetrics(expressions, without)
        self.valence_arousal_metrics = ValenceArousalMetrics()

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute cross entropy and the CCC losses, each over the samples that have its label."""
        logits, preds, target = self._split(outputs, batch["valence_arousal"])
        return self.loss(torch.cat([logits, preds], 1), batch["expression"], target)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Score a batch and return its outputs (B, K)."""
        outputs = self(batch["image"]).float()
        logits, preds, target = self._split(outputs, batch["valence_arousal"])
        if self.num_expressions:
            self.expression_metrics.update(logits, batch["expression"])
        self.valence_arousal_metrics.update(preds, target)
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's scores, without those that have no labels."""
        dimensional = self.valence_arousal_metrics.compute()
        scores = {**(self.expression_metrics.compute() if self.num_expressions else {}), **dimensional}
        ccc = [value for name, value in dimensional.items() if name.endswith("_ccc")]
        if not self.num_expressions and len(ccc) == len(self._columns):
            scores["ccc"] = torch.stack(ccc).mean()
        self.log_dict({f"val/{name}": value.float() for name, value in scores.items()})
        self.expression_metrics.reset()
        self.valence_arousal_metrics.reset()

    def _split(self, outputs: Tensor, valence_arousal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split off logits (B, C) and dimensions (B, 2), with labels; one that is not learnt has no labels (NaN)."""
        logits, found = split_outputs(outputs, self.num_expressions)
        if len(self._columns) == len(VALENCE_AROUSAL):
            return logits, found, valence_arousal
        preds, target = found.new_zeros(len(found), 2), torch.full_like(valence_arousal, torch.nan)
        preds[:, self._columns], target[:, self._columns] = found, valence_arousal[:, self._columns]
        return logits, preds, target
