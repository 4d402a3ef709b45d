import torch

from affect.networks.backbone import Backbone
from lightning_modules.ensemble import EnsembleModule


def test_each_networks_outputs_come_with_the_names(tiny_architecture: str) -> None:
    backbones = [Backbone(tiny_architecture, width).eval() for width in (10, 6)]
    image = torch.randn(2, 3, 32, 32)
    expected = [backbone(image) for backbone in backbones]
    names, outputs = EnsembleModule(backbones).predict_step({"image": image, "name": ["x", "y"]})
    assert names == ["x", "y"]
    torch.testing.assert_close(outputs, expected)
