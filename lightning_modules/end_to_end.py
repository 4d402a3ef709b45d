"""A network trained end to end on s-Aff-Wild2 alone: what features from AffectNet are compared with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affect.head_losses import HeadLoss
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, VALENCE_AROUSAL
from affect.mtl_score import MultiTaskScore
from affect.networks.backbone import Backbone
from affect.networks.heads import probabilities
from lightning_modules.sam_training import SamTrainingModule

WIDTHS = (len(AFFWILD2_EXPRESSIONS), len(VALENCE_AROUSAL), len(ACTION_UNITS))


class EndToEndModule(SamTrainingModule):
    """Train all three tasks by one linear layer on a timm encoder, each on the frames that have its label.

    Args:
        architecture: timm name of the encoder.
        class_weights: Of expressions, 8 values; None weighs all alike.
        unit_weights: Of inactive and active action units, 2 x 12 values; None weighs all alike.
        sam_rho: Radius of SAM's ball; 0 trains with plain Adam.
        gradient_clip_norm: Clip the gradient's norm; None does not.
        hub_weights: Start the encoder from timm's published weights.
    """

    loss_terms = ("expression", "valence_arousal", "action_units")

    def __init__(
        self,
        architecture: str,
        class_weights: Sequence[float] | None = None,
        unit_weights: Sequence[Sequence[float]] | None = None,
        sam_rho: float = 0.0,
        gradient_clip_norm: float | None = None,
        hub_weights: bool = False,
    ) -> None:
        super().__init__(Backbone(architecture, sum(WIDTHS), hub_weights), sam_rho, gradient_clip_norm)
        self.save_hyperparameters(ignore=["hub_weights"])
        self.loss = HeadLoss(
            None if class_weights is None else torch.tensor(class_weights),
            None if unit_weights is None else torch.tensor(unit_weights),
        )
        self.score = MultiTaskScore()

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the three tasks' losses, those of the heads."""
        losses = self.loss.total(split_tasks(outputs.float()), batch)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Score a batch and return probabilities and values side by side, shape (B, 22)."""
        preds = probabilities(split_tasks(self(batch["image"]).float()))
        self.score.update(preds, batch)
        return torch.cat([preds["expression"], preds["valence_arousal"], preds["action_units"]], 1)

    def on_validation_epoch_end(self) -> None:
        """Log P_MTL with its parts, those without labels left out."""
        self.log_dict({f"val/{name}": value.float() for name, value in self.score.compute().items()})
        self.score.reset()


def split_tasks(outputs: Tensor) -> dict[str, Tensor]:
    """Split the linear layer's outputs (B, 22) by task, valence and arousal squashed into [-1, 1]."""
    expression, values, units = outputs.split(WIDTHS, dim=1)
    return {"expression": expression, "valence_arousal": torch.tanh(values), "action_units": units}
