"""Writes whole networks, pickled by the timm that is installed, with the features that they compute there.

Run once per generation, in an environment with that timm (0.4.12, 0.6.13, 0.9.16 and 1.0.31 import beside today's
PyTorch, installed with --no-deps):

    python tests/affect/networks/old_checkpoints/write.py

The network is today's `test_efficientnet`, built by the older classes; few and coarse weights keep the files small.
"""

import lzma
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from timm.models import efficientnet
from torch import nn

FOLDER = Path(__file__).parent
BLOCKS = [["cn_r1_k3_s1_e1_c16_skip"], ["er_r1_k3_s2_e4_c24"], ["er_r1_k3_s2_e4_c32"], ["ir_r1_k3_s2_e4_c48_se0.25"],
          ["ir_r1_k3_s2_e4_c64_se0.25"]]  # fmt: skip


def example_images() -> torch.Tensor:
    """Return two images, shape (2, 3, 48, 48)."""
    values = np.random.default_rng(1).integers(-256, 257, (2, 3, 48, 48)) / 128  # the same on every processor
    return torch.tensor(values, dtype=torch.float32)


def build_network() -> nn.Module:
    """Build the network with the installed timm, and give it weights and statistics."""
    network = efficientnet.EfficientNet(
        block_args=efficientnet.decode_arch_def(BLOCKS), num_features=256, stem_size=24, num_classes=1,
        round_chs_fn=partial(efficientnet.round_channels, multiplier=1.0), norm_layer=partial(nn.BatchNorm2d, eps=1e-5),
        act_layer=nn.SiLU,
    )  # fmt: skip
    network.classifier = nn.Sequential(nn.Linear(256, 10))  # as in the published networks
    random = np.random.default_rng(0)
    for _, parameter in sorted(network.named_parameters()):
        if parameter.ndim > 1:
            kept = random.random(parameter.shape) < min(1, 24 / parameter[0].numel())
            values = random.integers(-3, 4, parameter.shape) / 8 * kept
            parameter.data = torch.tensor(values, dtype=torch.float32)
    with torch.no_grad():
        for _ in range(30):
            network.train()(example_images())
    return network.eval()


def write(name: str, network: nn.Module, zipped: bool) -> None:
    """Write a network and its features."""
    path = FOLDER / f"{name}.pt"
    torch.save(network, path, _use_new_zipfile_serialization=zipped)
    Path(f"{path}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    path.unlink()
    network.double()  # so that the order in which a processor sums does not show
    with torch.inference_mode():
        maps = network.forward_features(example_images().double())
        outputs = network(example_images().double())
    np.savez_compressed(FOLDER / f"{name}.npz", feature=maps.mean((2, 3)).numpy(), outputs=outputs.numpy())


if __name__ == "__main__":
    write(f"timm-{timm.__version__}", build_network(), zipped=True)
    if timm.__version__.startswith("0.4"):
        write(f"timm-{timm.__version__}-legacy", build_network(), zipped=False)
