"""A network trained end to end on s-Aff-Wild2 alone: what features from AffectNet are compared with."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from affect.mtl_score import MultiTaskScore
from affect.networks.backbone import Backbone
from affect.tasks import TASKS, TaskLoss, predictions
from lightning_modules.sam_training import SamTrainingModule

LAYOUT: Final = tuple(dict.fromkeys(("expression", *TASKS)))
"""Order of the tasks in the outputs: checkpoints have the expressions first."""


class EndToEndModule(SamTrainingModule):
    """Train all tasks by one linear layer on a timm encoder, each on the frames that have its label.

    Args:
        architecture: timm name of the encoder.
        class_weights: Of expressions, 8 values; None weighs all alike.
        unit_weights: Of inactive and active action units, 2 x 12 values; None weighs all alike.
        sam_rho: Radius of SAM's ball; 0 trains with plain Adam.
        gradient_clip_norm: Clip the gradient's norm; None does not.
        hub_weights: Start the encoder from timm's published weights.
    """

    loss_terms = LAYOUT

    def __init__(
        self,
        architecture: str,
        class_weights: Sequence[float] | None = None,
        unit_weights: Sequence[Sequence[float]] | None = None,
        sam_rho: float = 0.0,
        gradient_clip_norm: float | None = None,
        hub_weights: bool = False,
    ) -> None:
        num_outputs = sum(TASKS[task].width for task in LAYOUT)
        super().__init__(Backbone(architecture, num_outputs, hub_weights), sam_rho, gradient_clip_norm)
        self.save_hyperparameters(ignore=["hub_weights"])
        weights = {"expression": class_weights, "action_units": unit_weights}
        self.loss = TaskLoss({task: torch.tensor(values) for task, values in weights.items() if values is not None})
        self.score = MultiTaskScore()

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the tasks' losses, those of the heads."""
        losses = self.loss.total(split_tasks(outputs.float()), batch)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Score a batch and return the predictions of all tasks side by side, in the order of LAYOUT."""
        preds = predictions(split_tasks(self(batch["image"]).float()))
        self.score.update(preds, batch)
        return torch.cat([preds[task] for task in LAYOUT], 1)

    def on_validation_epoch_end(self) -> None:
        """Log P_MTL with its parts, those without labels left out."""
        self.log_dict({f"val/{name}": value.float() for name, value in self.score.compute().items()})
        self.score.reset()


def split_tasks(outputs: Tensor) -> dict[str, Tensor]:
    """Split the linear layer's outputs (B, 22) by task, those of bounded tasks squashed into [-1, 1]."""
    parts = outputs.split([TASKS[task].width for task in LAYOUT], dim=1)
    return {
        task: torch.tanh(values) if TASKS[task].bounded else values for task, values in zip(LAYOUT, parts, strict=True)
    }
