"""The packaged EfficientNet-Lite0 against a forward pass written here, which goes by the package's own names."""

from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import Tensor

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks import packaged_weights
from affect.networks.backbone import Backbone, input_statistics
from affect.networks.packaged_weights import find_packaged_weights, load_packaged_weights, rename_in_order

NAME = "packaged:efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
STAGES = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))
"""Kernel, stride of the first block, and number of blocks (Tan and Le 2019, arXiv 1905.11946, table 1)."""
BLOCKS = [(kernel, 1 if number else stride, number > 0) for kernel, stride, count in STAGES for number in range(count)]
"""Kernel, stride, and whether the input is added to the output."""


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return torch.load(find_packaged_weights(NAME), weights_only=True)


def reference_features(tensors: dict[str, Tensor], image: Tensor) -> Tensor:
    """Compute pooled features of (B, 3, H, W) in [-1, 1]: TensorFlow's padding, ReLU6, no squeeze and excitation."""

    def convolve(x: Tensor, name: str, norm: str, stride: int = 1, act: bool = True) -> Tensor:
        weight = tensors[f"{name}.weight"]
        kernel = weight.shape[-1]
        pads = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
        x = F.pad(x, list(chain(*((pad // 2, pad - pad // 2) for pad in pads))))
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        values = [tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *values, eps=1e-3)
        return F.relu6(x) if act else x

    x = convolve(image, "_conv_stem", "_bn0", stride=2)
    for number, (kernel, stride, adds) in enumerate(BLOCKS):
        block, inputs = f"_blocks.{number}", x
        assert tensors[f"{block}._depthwise_conv.weight"].shape[-1] == kernel
        if number:
            x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
        x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride)
        x = convolve(x, f"{block}._project_conv", f"{block}._bn2", act=False)
        x = x + inputs if adds else x
    return convolve(x, "_conv_head", "_bn1").mean((2, 3))


def photographs() -> Tensor:
    """Two photographs that scikit-learn ships, 224 px, normalised as timm says of the architecture."""
    mean, std = input_statistics(ARCHITECTURE)
    assert mean == std == (0.5, 0.5, 0.5)
    images = [cv2.resize(load_sample_image(name)[:, 100:527], (224, 224)) for name in ("china.jpg", "flower.jpg")]
    return torch.from_numpy(np.stack(images) / 127.5 - 1).permute(0, 3, 1, 2).float()


def test_features_and_classes_of_photographs_are_those_of_the_packages_network(tensors: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    backbone = Backbone(ARCHITECTURE, 8).eval()
    report = load_packaged_weights(backbone, NAME)
    assert (len(report.loaded), report.ignored) == (294, ["classifier.weight", "classifier.bias"])
    images = photographs()
    with torch.no_grad():
        found = backbone.forward_features(images)
        expected = reference_features(tensors, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    logits = F.linear(found, tensors["_fc.weight"], tensors["_fc.bias"])
    assert logits.argmax(1).tolist() == [698, 985]  # ImageNet's palace and daisy


def test_another_architecture_name_or_release_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_architecture: str):
    with pytest.raises(InvalidOptionError, match=rf"of {ARCHITECTURE}, not of .*set model.architecture={ARCHITECTURE}"):
        load_packaged_weights(Backbone(tiny_architecture, 0), NAME)
    with pytest.raises(InvalidOptionError, match="named 'efficientnet-lite4'; choose packaged:efficientnet-lite0"):
        find_packaged_weights("packaged:efficientnet-lite4")
    known = packaged_weights.PACKAGED_WEIGHTS["efficientnet-lite0"]
    wanted = packaged_weights.PackagedWeights(known.file, tiny_architecture.partition(".")[0])
    monkeypatch.setitem(packaged_weights.PACKAGED_WEIGHTS, "efficientnet-lite0", wanted)
    with pytest.raises(InvalidFileError, match=r"\.pth holds 296 tensors, this network has \d+"):
        load_packaged_weights(Backbone(tiny_architecture, 0), NAME)


def test_tensors_out_of_order_are_refused() -> None:
    found = {"_bn.weight": torch.zeros(2), "_bn.bias": torch.zeros(2)}
    renamed = rename_in_order(found, ["bn1.weight", "bn1.bias"], Path("a.pth"))
    assert renamed["bn1.bias"] is found["_bn.bias"]
    with pytest.raises(InvalidFileError, match=r"a\.pth: _bn\.weight stands where this network has bn1\.bias"):
        rename_in_order(found, ["bn1.bias", "bn1.weight"], Path("a.pth"))
