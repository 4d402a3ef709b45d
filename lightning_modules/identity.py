"""Training of person identity and landmarks, to initialise the emotion network.

The published system starts from a network that identifies the people of VGGFace2 (arXiv 2207.09508, section 3.1);
landmarks are a second task where they are known.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from affect.networks.backbone import Backbone
from lightning_modules.sam_training import SamTrainingModule


class IdentityModule(SamTrainingModule):
    """Train person logits and landmark positions by one linear layer on a timm encoder.

    Args:
        architecture: timm name of the encoder.
        num_people: Number of person logits.
        num_landmarks: Points per face; 0 trains identity only.
        landmark_weight: Weight of the landmark loss beside cross entropy.
    """

    loss_terms = ("identity", "landmarks")

    def __init__(self, architecture: str, num_people: int, num_landmarks: int, landmark_weight: float = 10.0) -> None:
        super().__init__(Backbone(architecture, num_people + 2 * num_landmarks), sam_rho=0.0)
        self.save_hyperparameters()
        self.num_people = num_people
        self.num_landmarks = num_landmarks
        self.landmark_weight = landmark_weight
        self.accuracy = MeanMetric()
        self.landmark_error = MeanMetric()

    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute cross entropy over people and the L1 distance of landmarks where they are known."""
        logits, points = self._split(outputs)
        terms = {"identity": F.cross_entropy(logits, batch["person"])}
        known = ~batch["landmarks"].isnan().any(1)
        if self.num_landmarks and bool(known.any()):
            # Not squared: small errors matter, since expressions differ by them.
            distance = F.l1_loss(points[known], batch["landmarks"][known])
            terms["landmarks"] = self.landmark_weight * distance
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score a batch; its outputs are not returned, since thousands of logits per image would fill the memory."""
        outputs = self(batch["image"])
        logits, points = self._split(outputs)
        self.accuracy.update((logits.argmax(1) == batch["person"]).float())
        if self.num_landmarks:
            known = ~batch["landmarks"].isnan().any(1)
            offsets = (points[known] - batch["landmarks"][known]).unflatten(1, (-1, 2))
            self.landmark_error.update(offsets.norm(dim=2).mean(1) / 2)

    def on_validation_epoch_end(self) -> None:
        """Log identity accuracy and, if any is known, the mean landmark error as a share of the image's side."""
        scores = {"val/identity_accuracy": self.accuracy.compute()}
        if self.num_landmarks:
            # Computed in every process, with landmarks or not: the others wait for it.
            scores["val/landmark_error"] = self.landmark_error.compute()
        self.log_dict({name: score for name, score in scores.items() if not score.isnan()})
        self.accuracy.reset()
        self.landmark_error.reset()

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = outputs.float()
        return outputs[:, : self.num_people], outputs[:, self.num_people :]
