"""Base module with the SAM training step, under manual optimisation, with the encoder frozen or not."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from affect.errors import InvalidOptionError
from affect.networks.backbone import Backbone, channels_last
from affect.sam import SAM, frozen_batch_statistics


class SamTrainingModule(pl.LightningModule, ABC):
    """Train a backbone with SAM around Adam; the StageSchedule callback sets freezing and learning rate.

    Subclasses implement `compute_losses`. Each step logs each loss once and updates BatchNorm statistics once, although
    SAM passes through the network twice. Manual optimisation keeps this exact under DDP and bf16.

    Args:
        backbone: The network; kept in channels-last memory order.
        sam_rho: Radius of SAM's ball; 0 trains with plain Adam.
        gradient_clip_norm: Largest norm of the gradient passed to Adam; None disables clipping.

    Attributes:
        loss_terms: Names of the terms that `compute_losses` may return beside `loss`.
        encoder_frozen: Whether only the classifier trains. The encoder stays in training mode, so that its BatchNorm
            statistics move, as in the published training.
        with_sam: Whether steps are those of SAM, if `sam_rho` is positive.
    """

    loss_terms: ClassVar[tuple[str, ...]] = ()

    def __init__(self, backbone: Backbone, sam_rho: float, gradient_clip_norm: float | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = channels_last(backbone)
        self.sam_rho = sam_rho
        self.gradient_clip_norm = gradient_clip_norm
        self.encoder_frozen = False
        self.with_sam = True
        # Not Lightning's mean over the epoch: for a term that one process never logs, it would hang or keep
        # rank 0's value. FiniteLoss has checked the values.
        self.loss_means: Any = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name in ("loss", *self.loss_terms)}
        )

    @abstractmethod
    def compute_losses(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Map outputs (B, K) and a batch to scalars: `loss`, which is minimised, and those `loss_terms` it has."""

    def trainable_parameters(self) -> Iterable[torch.nn.Parameter]:
        """Return the optimiser's parameters; by default all."""
        return self.parameters()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Wrap Adam in SAM; the learning rate is set at each stage's start.

        Raises:
            InvalidOptionError: If float16 loss scaling is combined with SAM or clipping, which use the gradient's norm.
        """
        if self.trainer.precision in ("16-mixed", "16-true") and (self.sam_rho or self.gradient_clip_norm):
            raise InvalidOptionError(
                "neither SAM nor optimizer.gradient_clip_norm works with float16 loss scaling; use "
                "trainer.precision=bf16-mixed"
            )
        adam = torch.optim.Adam(self.trainable_parameters(), lr=0.0, fused=True)
        return SAM(adam, rho=self.sam_rho) if self.sam_rho else adam

    def forward(self, image: Tensor) -> Tensor:
        """Compute outputs (B, K) of normalised images (B, 3, H, W)."""
        return self.backbone(image)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one optimiser step, with SAM if `sam_rho` is positive.

        A process whose batch has no readable image contributes a zero gradient.

        Returns:
            The sum of the losses of both SAM passes; not finite if either is not.
        """
        optimizer: Any = self.optimizers()
        features = self._encode(batch["image"])
        losses = self._classify(features, batch)
        self.manual_backward(losses["loss"])
        checked = losses["loss"].detach()
        if self.sam_rho and self.with_sam:
            optimizer.optimizer.ascend()
            optimizer.zero_grad()
            with frozen_batch_statistics(self.backbone):
                # A frozen encoder returns the same features: only the classifier has changed.
                if not self.encoder_frozen:
                    features = self._encode(batch["image"])
                second = self._classify(features, batch)["loss"]
                self.manual_backward(second)
            checked = checked + second.detach()
        if self.gradient_clip_norm:
            # Not Lightning's clipping, which refuses a fused Adam even where there is no loss scaling.
            torch.nn.utils.clip_grad_norm_(self.trainable_parameters(), self.gradient_clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        self._log_losses({name: value.detach() for name, value in losses.items()}, len(batch["image"]))
        return checked

    def _log_losses(self, losses: dict[str, Tensor], num_images: int) -> None:
        """Log the step's terms, and add them to the epoch's means, once for each image."""
        self.log_dict({f"train/{name}_step": value for name, value in losses.items()}, on_step=True)
        for name, mean in self.loss_means.items():
            # Repeated, not weighted: with nan_strategy="disable" torchmetrics 1.9 takes all weights for 1.
            mean.update(losses[name].expand(num_images) if name in losses else torch.empty(0))

    def on_train_epoch_end(self) -> None:
        """Log each term's mean over the epoch's images in all processes; a term without labels is left out."""
        means = {f"train/{name}_epoch": mean.compute() for name, mean in self.loss_means.items()}
        self.log_dict({name: value for name, value in means.items() if not value.isnan()}, sync_dist=True)
        for mean in self.loss_means.values():
            mean.reset()

    def _encode(self, image: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.encoder_frozen):
            return self.backbone.forward_features(image)

    def _classify(self, features: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        outputs = self.backbone.classifier(features)
        if not len(outputs):  # no image could be read: 0, with a graph for the other processes' gradients
            return {"loss": outputs.float().sum()}
        return self.compute_losses(outputs, batch)
