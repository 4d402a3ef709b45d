import pytest
import torch
from torch import nn

from affect.networks.backbone import Backbone
from affect.networks.batch_norm_folding import fold_batch_norm


def trained(module: nn.Module) -> nn.Module:
    """Return BatchNorms statistics and scales as training would."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    return module.eval()


@pytest.mark.parametrize("architecture", ["test_efficientnet.r160_in1k", "test_resnet.r160_in1k", "test_vit.r160_in1k"])
def test_folded_networks_give_the_same_features(architecture: str) -> None:
    encoder = trained(Backbone(architecture, 0).encoder)
    size = 160 if "vit" in architecture else 64
    image = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    folded = fold_batch_norm(encoder, image[:1])
    with torch.inference_mode():
        expected, found = encoder(image), folded(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    norms = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not norms, "all of them follow a convolution in these networks"
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_a_bias_of_the_convolution_is_folded_too() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    nn.init.constant_(layers[0].bias, 0.7)
    image = torch.randn(2, 3, 8, 8)
    folded = fold_batch_norm(trained(layers), image)
    torch.testing.assert_close(folded(image), layers(image))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in layers.parameters())


class Shared(nn.Module):
    """A convolution whose output goes another way too: folding would change that way."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.convolution(image)
        return (self.norm(output) + output).mean((2, 3))


@pytest.mark.parametrize("scale", [1, 1e-4])  # features of any size
def test_a_network_that_cannot_be_folded_stays(scale: float) -> None:
    encoder = trained(Shared())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter *= scale
    assert fold_batch_norm(encoder, torch.randn(2, 3, 8, 8)) is encoder
