import pytest
import torch
from torch import nn

from affect.backbones import Backbone
from affect.folded_norm import fold_batch_norm


def trained(module: nn.Module) -> nn.Module:
    """Give BatchNorms statistics and scales as training would."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    return module.eval()


@pytest.mark.parametrize(
    "architecture", ["test_efficientnet.r160_in1k", "test_resnet.r160_in1k", "test_vit.r160_in1k"]
)
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


class Shared(nn.Module):
    """A convolution whose output goes another way too: folding would change that way."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.convolution(image)
        return (self.norm(output) + output).mean((2, 3))


def test_a_network_that_cannot_be_folded_stays() -> None:
    encoder = trained(Shared())
    assert fold_batch_norm(encoder, torch.randn(2, 3, 8, 8)) is encoder
