"""One network from the pixels of a face to all that a single frame gives; what `make export` writes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from affect.labels import VALENCE_AROUSAL
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec
from affect.networks.heads import HeadNetwork
from affect.tasks import TASKS

SMALLEST_LOG: float = float(np.log(1e-12))
"""Logarithm that stands for that of a probability of 0, as in the calibration."""


class FrameNetwork(nn.Module):
    """Backbone, and where given heads, expression bias and action unit thresholds; smoothing needs more than a frame.

    Args:
        backbone: Network of stage 1 or 3.
        spec: Its inputs and outputs.
        heads: Heads of stage 2 on it.
        log_bias: Bias of each of the heads' expressions on its log-probability.
        thresholds: Probability from which each action unit is active.
        takes_pixels: Whether the input is uint8 RGB, shape (B, S, S, 3), and not normalised float32, (B, 3, S, S).

    Attributes:
        outputs: Names of the outputs in order, with the names of their columns; none for `features`.
    """

    mean: Tensor
    std: Tensor
    log_bias: Tensor
    thresholds: Tensor

    def __init__(
        self,
        backbone: Backbone,
        spec: BackboneSpec,
        heads: HeadNetwork | None = None,
        log_bias: Sequence[float] = (),
        thresholds: Sequence[float] = (),
        takes_pixels: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.heads, self.takes_pixels = backbone, heads, takes_pixels
        self.num_expressions = len(spec.expressions)
        self.places = [spec.outputs.index(name) for name in VALENCE_AROUSAL if name in spec.outputs]
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1) * 255)
        self.register_buffer("log_bias", torch.tensor(log_bias, dtype=torch.float32))
        self.register_buffer("thresholds", torch.from_numpy(_rounded_up(thresholds)))
        self.outputs: Mapping[str, tuple[str, ...]] = _output_columns(spec, heads)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, in the order of `outputs`."""
        if self.takes_pixels:
            image = (image.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features = self.backbone.forward_features(image)
        outputs = self.backbone.classifier(features)
        found = {"features": features, "outputs": outputs}
        if self.heads is not None:
            found |= self._predictions(torch.cat([features, outputs], 1) if self.backbone.num_outputs else features)
        else:
            found["expression"] = outputs[:, : self.num_expressions].softmax(1)
            found["valence_arousal"] = outputs[:, self.places]
        return tuple(found[name] for name in self.outputs)

    def _predictions(self, row: Tensor) -> dict[str, Tensor]:
        assert self.heads is not None
        raw = self.heads(row)
        found = {task: TASKS[task].predictions(values) for task, values in raw.items() if task != "expression"}
        biased = raw["expression"].log_softmax(1).clamp(min=SMALLEST_LOG) + self.log_bias
        decisions = (found["action_units"] >= self.thresholds).to(torch.uint8)
        return {**found, "expression": biased.softmax(1), "action_unit_decisions": decisions}


def _output_columns(spec: BackboneSpec, heads: HeadNetwork | None) -> dict[str, tuple[str, ...]]:
    columns: dict[str, tuple[str, ...]] = {"features": ()}
    if spec.outputs:
        columns["outputs"] = tuple(spec.outputs)
    if heads is not None:
        columns |= {task: TASKS[task].outputs for task in ("expression", "valence_arousal", "action_units")}
        return columns | {"action_unit_decisions": TASKS["action_units"].outputs}
    if spec.expressions:
        columns["expression"] = tuple(spec.expressions)
    if named := tuple(name for name in VALENCE_AROUSAL if name in spec.outputs):
        columns["valence_arousal"] = named
    return columns


def _rounded_up(values: Sequence[float]) -> np.ndarray:
    """Round to the next float32 above, so that a float32 reaches it exactly if it reaches the value."""
    exact = np.asarray(values, np.float64)
    rounded = exact.astype(np.float32)
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)
