import pytest
import torch
from torch import nn

from affect.errors import InvalidOptionError
from affect.networks.backbone import Backbone, input_statistics, native_image_size
from affect.networks.mobilefacenet import MobileFaceNet

# Table 1 of the paper: operator, expansion, output channels, repetitions, stride, from 112 x 112 x 3 on.
TABLE = [("conv", 0, 64, 1, 2), ("dw", 0, 64, 1, 1), ("neck", 2, 64, 5, 2), ("neck", 4, 128, 1, 2),
         ("neck", 2, 128, 6, 1), ("neck", 4, 128, 1, 2), ("neck", 2, 128, 2, 1)]  # fmt: skip


def number_of_weights() -> int:
    """Count convolution weights of the table: the three last rows are written out below."""
    total, channels = 0, 3
    for operator, expansion, width, count, _ in TABLE:
        for _ in range(count):
            if operator == "neck":
                inner = expansion * channels
                total += channels * inner + 9 * inner + inner * width
            else:
                total += 9 * width * (channels if operator == "conv" else 1)
            channels = width
    return total + channels * 512 + 49 * 512 + 512 * 512  # the last is the embedding: 128 wide in the paper


def test_it_is_the_network_of_the_papers_table() -> None:
    network = MobileFaceNet().eval()
    kernels = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sum(layer.weight.numel() for layer in kernels) == number_of_weights()
    shapes = {}
    for name in ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5", "conv_6_sep"):
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 512)
    assert list(shapes.values()) == [
        (64, 56, 56), (64, 56, 56), (64, 28, 28), (64, 28, 28), (128, 14, 14), (128, 14, 14), (128, 7, 7), (128, 7, 7),
        (512, 7, 7),
    ]  # fmt: skip


def test_bottlenecks_add_their_input_where_they_keep_its_shape() -> None:
    network = MobileFaceNet().eval()
    x = torch.randn(1, 64, 8, 8)
    block = network.conv_3.model[0]
    nn.init.zeros_(block.project.bn.weight)
    assert torch.equal(block(x), x)
    assert not network.conv_23.residual
    assert [len(getattr(network, name).model) for name in ("conv_3", "conv_4", "conv_5")] == [4, 6, 2]


def test_it_is_an_architecture_of_backbones() -> None:
    backbone = Backbone("mobilefacenet", 10)
    assert (backbone.architecture, backbone.num_features) == ("mobilefacenet", 512)
    assert backbone(torch.zeros(2, 3, 112, 112)).shape == (2, 10)
    assert input_statistics("mobilefacenet") == ((0.5,) * 3, (0.5,) * 3)
    assert native_image_size("mobilefacenet") == 112


def test_other_image_sizes_and_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="takes images of 112 px, got 224"):
        MobileFaceNet()(torch.zeros(1, 3, 224, 224))
    with pytest.raises(InvalidOptionError, match="weights of mobilefacenet"):
        Backbone("mobilefacenet", 0, hub_weights=True)
    with pytest.raises(InvalidOptionError, match=r"nearest are.*mobilefacenet"):
        Backbone("mobilefacenets", 0)
