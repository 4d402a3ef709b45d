import numpy as np
import pytest
import torch
from torch import Tensor

from affect.super_resolution.ncnn import packaged_network
from affect.super_resolution.networks import RRDBNet, SRVGGNetCompact, SuperResolutionNetwork


@pytest.fixture(scope="session")
def anime() -> SuperResolutionNetwork:
    return packaged_network("animevideov3")


@pytest.fixture(scope="session")
def x4plus() -> SuperResolutionNetwork:
    return packaged_network("x4plus")


@pytest.fixture
def small_rrdb():
    """Build a small RRDBNet of a scale whose random outputs cover all grey levels."""

    def build(scale: int) -> RRDBNet:
        torch.manual_seed(scale)
        network = RRDBNet(scale, num_features=16, num_blocks=2, num_growth=8).eval().requires_grad_(False)
        network.conv_last.bias.fill_(0.5)
        network.conv_last.weight.mul_(20)
        return network

    return build


@pytest.fixture
def small_srvgg() -> SRVGGNetCompact:
    torch.manual_seed(0)
    return SRVGGNetCompact(3, num_features=8, num_convolutions=2).eval().requires_grad_(False)


@pytest.fixture
def pictures():
    """Return smooth random RGB images with some noise, uint8, shape (B, 3, H, W)."""

    def draw(count: int, height: int, width: int, seed: int = 0) -> Tensor:
        generator = np.random.default_rng(seed)
        coarse = torch.from_numpy(generator.uniform(0, 255, (count, 3, 4, 4)))
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").numpy()
        noisy = smooth + generator.normal(0, 6, smooth.shape)
        return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))

    return draw
