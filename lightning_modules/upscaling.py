"""Predict pass of super-resolution."""

from typing import Any

import pytorch_lightning as pl

from affect.super_resolution.upscaler import Upscaler


class UpscalingModule(pl.LightningModule):
    """Enlarges batches of images with either engine.

    Args:
        upscaler: The engine with its network.
    """

    def __init__(self, upscaler: Upscaler) -> None:
        super().__init__()
        self.upscaler = upscaler

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Enlarge each group of equal-sized images; the result has the same structure, on the CPU.

        `groups` are dicts of `image` (uint8 RGB, shape (B, 3, H, W)) and `name`; `unreadable` is passed on.
        """
        groups = [{"image": self.upscaler(group["image"]), "name": group["name"]} for group in batch["groups"]]
        return {"groups": groups, "unreadable": batch["unreadable"]}
