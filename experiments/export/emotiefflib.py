"""The layout that the package emotiefflib 1.1.1 reads: one output, whose last node is the classifier.

Its ONNX recogniser opens `~/.emotiefflib/<name>.onnx` and derives from the name the size and statistics of the input,
the labels, and whether valence and arousal follow them. It resizes, normalises and transposes by itself, and names its
input `input`.
"""

from typing import Final

import torch
from torch import Tensor, nn

from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec
from experiments.runtime.config.options import ConfigError

_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_INPUTS: Final = {224: ("suite", _IMAGENET), 260: ("suite_b2", _IMAGENET), 112: ("mbf_suite", _HALVES)}
"""By size of the input: beginning of a name that stands for it, and the statistics that go with that."""


class EmotiEffLibNetwork(nn.Module):
    """A backbone that takes images normalised as emotiefflib does it, and gives its outputs in emotiefflib's order.

    Args:
        backbone: The network.
        spec: Its inputs and outputs.

    Attributes:
        name: Name of the file, without suffix, from which emotiefflib derives how to use it.
        columns: Names of the outputs in its order.

    Raises:
        ConfigError: If emotiefflib has no such size, or no such outputs.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, spec: BackboneSpec) -> None:
        super().__init__()
        if spec.image_size not in _INPUTS:
            raise ConfigError(
                f"format=emotiefflib: the package takes images of 112, 224 or 260 px, this network {spec.image_size} px"
            )
        beginning, (mean, std) = _INPUTS[spec.image_size]
        classes = len(spec.expressions)
        labels = [name for name in BACKBONE_EXPRESSIONS if classes == 8 or name != "Contempt"]
        others = tuple(spec.outputs[classes:])
        if sorted(labels) != sorted(spec.expressions) or others not in ((), VALENCE_AROUSAL):
            raise ConfigError(
                "format=emotiefflib: the package names outputs by their place, AffectNet's 8 expressions or these "
                f"without Contempt, then valence and arousal or nothing; this network has {', '.join(spec.outputs)}"
            )
        self.name = f"{beginning}_{classes}{'_mtl' if others else ''}"
        self.columns = (*labels, *others)
        rows = [spec.outputs.index(name) for name in self.columns]
        self.encoder = backbone.encoder
        self.classifier = nn.Linear(backbone.num_features, len(rows))
        assert isinstance(backbone.classifier, nn.Linear)
        with torch.no_grad():
            self.classifier.weight.copy_(backbone.classifier.weight[rows])
            self.classifier.bias.copy_(backbone.classifier.bias[rows])
        given, own = (torch.tensor([mean, std]), torch.tensor([list(spec.mean), list(spec.std)]))
        self.same = bool(torch.equal(given, own))
        self.register_buffer("scale", (given[1] / own[1]).view(3, 1, 1))
        self.register_buffer("shift", ((given[0] - own[0]) / own[1]).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits, then valence and arousal, shape (B, 7 to 10)."""
        return self.classifier(self.encoder(image if self.same else image * self.scale + self.shift))
