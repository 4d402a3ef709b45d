"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573, table 1), for faces of 112 px.

Modules are named as in the PyTorch implementations that face-identification checkpoints come from.
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from affect.errors import InvalidOptionError

IMAGE_SIZE: Final = 112
NUM_FEATURES: Final = 512
"""Width of the embedding; the paper has 128, the checkpoints of recognition challenges and of emotions 512."""


def convolution(
    num_inputs: int, num_outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1,
    activation: bool = True,
) -> nn.Sequential:  # fmt: skip
    """Build a convolution with BatchNorm and, unless it is a linear bottleneck, PReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(num_inputs, num_outputs, kernel, stride, padding, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(num_outputs)
    if activation:
        layers["prelu"] = nn.PReLU(num_outputs)
    return nn.Sequential(layers)


class Bottleneck(nn.Module):
    """Widen by a pointwise convolution, filter depthwise, project; with the input added if `residual`."""

    def __init__(self, num_inputs: int, num_outputs: int, width: int, stride: int, residual: bool = False) -> None:
        super().__init__()
        self.conv = convolution(num_inputs, width, 1)
        self.conv_dw = convolution(width, width, 3, stride, 1, groups=width)
        self.project = convolution(width, num_outputs, 1, activation=False)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, num_inputs, H, W) to (B, num_outputs, H / stride, W / stride)."""
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


def bottlenecks(num_channels: int, width: int, count: int) -> nn.Sequential:
    """Build a row of residual bottlenecks."""
    blocks = [Bottleneck(num_channels, num_channels, width, 1, residual=True) for _ in range(count)]
    return nn.Sequential(OrderedDict(model=nn.Sequential(*blocks)))


class MobileFaceNet(nn.Module):
    """Map normalised faces (B, 3, 112, 112) to embeddings (B, 512), not scaled to length 1.

    A depthwise convolution over the whole 7 x 7 map takes the place of pooling, so that no other image size fits.
    """

    num_features = NUM_FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, 3, 2, 1)
        self.conv2_dw = convolution(64, 64, 3, 1, 1, groups=64)
        self.conv_23 = Bottleneck(64, 64, 128, 2)
        self.conv_3 = bottlenecks(64, 128, 4)
        self.conv_34 = Bottleneck(64, 128, 256, 2)
        self.conv_4 = bottlenecks(128, 256, 6)
        self.conv_45 = Bottleneck(128, 128, 512, 2)
        self.conv_5 = bottlenecks(128, 256, 2)
        self.conv_6_sep = convolution(128, NUM_FEATURES, 1)
        self.conv_6_dw = convolution(NUM_FEATURES, NUM_FEATURES, 7, groups=NUM_FEATURES, activation=False)
        self.linear = nn.Linear(NUM_FEATURES, NUM_FEATURES, bias=False)
        self.bn = nn.BatchNorm1d(NUM_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """Compute embeddings.

        Raises:
            InvalidOptionError: If the images are not of 112 px.
        """
        if x.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise InvalidOptionError(
                f"mobilefacenet takes images of {IMAGE_SIZE} px, got {x.shape[-1]}: set the image size to {IMAGE_SIZE}"
            )
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        x = self.conv_45(self.conv_4(self.conv_34(self.conv_3(x))))
        x = self.conv_6_dw(self.conv_6_sep(self.conv_5(x)))
        return self.bn(self.linear(x.flatten(1)))
