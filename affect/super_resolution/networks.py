"""The two generator networks of Real-ESRGAN, with the parameter names of the official checkpoints.

RRDBNet: Wang et al. 2018 (ESRGAN, arXiv 1809.00219), with the pixel-unshuffled input of Wang et al. 2021
(Real-ESRGAN, arXiv 2107.10833, section 3.3) below scale 4. SRVGGNetCompact: the release notes of Real-ESRGAN 0.2.5.

Input and output are RGB in [0, 1] (outputs may overshoot). The networks are for inference only, since blocks work in
place. The `body` may have a lower precision than the rest; its residual sums then keep the precision of the rest.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK: Final = 0.2
"""Negative slope of RRDBNet's activations."""
RESIDUAL_SCALE: Final = 0.2
"""Weight of a dense block's output beside its input."""


def _conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions, each applied to the input and all earlier outputs."""

    def __init__(self, num_features: int, num_growth: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(num_features, num_growth)
        self.conv2 = _conv3x3(num_features + num_growth, num_growth)
        self.conv3 = _conv3x3(num_features + 2 * num_growth, num_growth)
        self.conv4 = _conv3x3(num_features + 3 * num_growth, num_growth)
        self.conv5 = _conv3x3(num_features + 4 * num_growth, num_features)

    def forward(self, image: Tensor) -> Tensor:
        """Return features of the input's shape (B, num_features, H, W)."""
        known = image.to(self.conv1.weight.dtype)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = torch.cat([known, functional.leaky_relu_(conv(known), LEAK)], dim=1)
        return torch.add(image, self.conv5(known), alpha=RESIDUAL_SCALE)


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks inside one residual connection (the "RRDB")."""

    def __init__(self, num_features: int, num_growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(num_features, num_growth)
        self.rdb2 = DenseBlock(num_features, num_growth)
        self.rdb3 = DenseBlock(num_features, num_growth)

    def forward(self, image: Tensor) -> Tensor:
        """Return features of the input's shape (B, num_features, H, W)."""
        return torch.add(image, self.rdb3(self.rdb2(self.rdb1(image))), alpha=RESIDUAL_SCALE)


class RRDBNet(nn.Module):
    """The large generator, of x4plus and, with a pixel-unshuffled input, x2plus.

    Args:
        scale: 4, 2 or 1; the trunk always runs at a quarter of the output's side.
        num_features: Channels of the trunk.
        num_blocks: Residual-in-residual blocks.
        num_growth: Channels that each dense convolution adds.

    Raises:
        ValueError: If `scale` is not 1, 2 or 4.
    """

    def __init__(self, scale: int = 4, num_features: int = 64, num_blocks: int = 23, num_growth: int = 32) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"RRDBNet has scale 1, 2 or 4, not {scale}")
        self.scale, self.num_growth = scale, num_growth
        self.fold = 4 // scale
        self.conv_first = _conv3x3(3 * self.fold**2, num_features)
        self.body = nn.Sequential(*(ResidualDenseBlocks(num_features, num_growth) for _ in range(num_blocks)))
        self.conv_body = _conv3x3(num_features, num_features)
        self.conv_up1 = _conv3x3(num_features, num_features)
        self.conv_up2 = _conv3x3(num_features, num_features)
        self.conv_hr = _conv3x3(num_features, num_features)
        self.conv_last = _conv3x3(num_features, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Upscale RGB in [0, 1], shape (B, 3, H, W) with sides divisible by `fold`, to (B, 3, H s, W s)."""
        if self.fold > 1:
            image = functional.pixel_unshuffle(image, self.fold)
        features = self.conv_first(image)
        features = features + self.conv_body(self.body(features))
        for conv in (self.conv_up1, self.conv_up2):
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu_(conv(features), LEAK)
        return self.conv_last(functional.leaky_relu_(self.conv_hr(features), LEAK))


class SRVGGNetCompact(nn.Module):
    """The small generator, of general-x4v3 (32 convolutions) and animevideov3 (16): a plain stack with PReLU.

    It predicts the difference to the nearest-neighbour enlargement.

    Args:
        scale: Enlargement of the side.
        num_features: Channels of the stack.
        num_convolutions: Convolutions between the first and the last.
    """

    def __init__(self, scale: int = 4, num_features: int = 64, num_convolutions: int = 16) -> None:
        super().__init__()
        self.scale, self.num_features = scale, num_features
        self.fold = 1
        layers: list[nn.Module] = [_conv3x3(3, num_features), nn.PReLU(num_features)]
        for _ in range(num_convolutions):
            layers += [_conv3x3(num_features, num_features), nn.PReLU(num_features)]
        layers.append(_conv3x3(num_features, 3 * scale**2))
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Upscale RGB in [0, 1], shape (B, 3, H, W), to (B, 3, H s, W s)."""
        lowered = image.to(self.body[0].weight.dtype)  # type: ignore[arg-type]
        detail = functional.pixel_shuffle(self.body(lowered), self.scale)
        return detail + functional.interpolate(image, scale_factor=self.scale, mode="nearest")


SuperResolutionNetwork = RRDBNet | SRVGGNetCompact
