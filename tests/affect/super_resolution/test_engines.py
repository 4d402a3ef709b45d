import sys
import types

import cv2
import numpy as np
import pytest
import torch

from affect.errors import InvalidOptionError, MissingFileError
from affect.super_resolution import realesrgan_engine
from affect.super_resolution.batched import BatchedUpscaler, default_precision
from affect.super_resolution.lanczos import LanczosUpscaler, resize_lanczos
from affect.super_resolution.realesrgan_engine import NetworkError, RealESRGANUpscaler


def difference(first: torch.Tensor, second: torch.Tensor) -> int:
    assert first.dtype == second.dtype == torch.uint8
    assert first.shape == second.shape
    return int((first.int() - second.int()).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("outscale", [4, 2, 1.5])
def test_both_engines_return_the_same_image_with_the_real_x4plus(x4plus, pictures, outscale):
    images = pictures(3, 19, 16)
    ours = BatchedUpscaler(x4plus, outscale)(images)
    assert ours.shape == (3, 3, int(19 * outscale), int(16 * outscale))
    assert ours.float().std() > 20
    assert difference(ours, RealESRGANUpscaler(x4plus, outscale)(images)) <= 1


@pytest.mark.parametrize("size", [(17, 16), (15, 13)])
@pytest.mark.parametrize("scale", [2, 1])
def test_both_engines_pad_sides_that_are_not_divisible(small_rrdb, pictures, size, scale):
    network, images = small_rrdb(scale), pictures(2, *size)
    ours = BatchedUpscaler(network)(images)
    assert ours.shape[2:] == (size[0] * scale, size[1] * scale)
    assert difference(ours, RealESRGANUpscaler(network)(images)) <= 1


def test_both_engines_cut_the_same_tiles(small_rrdb, pictures):
    for scale in (4, 2):
        network, images = small_rrdb(scale), pictures(2, 37, 30)
        ours = BatchedUpscaler(network, tile=16, tile_overlap=2)(images)
        peer = RealESRGANUpscaler(network, tile=16, tile_overlap=2)(images)
        assert difference(ours, peer) <= 1
        untiled = BatchedUpscaler(network)(images)
        assert difference(ours, untiled) > 1, "so narrow an overlap shows: tiles were cut at all"


def test_tiles_that_overlap_by_the_receptive_field_change_nothing(anime, pictures):
    images = pictures(2, 50, 71)
    tiled = BatchedUpscaler(anime, 2.5, tile=24, tile_overlap=18)(images)
    assert difference(tiled, BatchedUpscaler(anime, 2.5)(images)) <= 1


def test_a_batch_equals_its_single_images(anime, pictures):
    upscaler = BatchedUpscaler(anime, 2)
    images = pictures(30, 24, 24)
    alone = torch.cat([upscaler(image[None]) for image in images])
    assert difference(upscaler(images), alone) <= 1


@pytest.mark.parametrize("engine", [BatchedUpscaler, RealESRGANUpscaler])
def test_grey_images_stay_grey_beside_coloured_ones(anime, pictures, engine):
    images = pictures(3, 14, 12)
    images[1] = images[1, :1]
    enlarged, coloured = engine(anime, 2)(images), engine(anime, 2).enlarge(images)
    assert difference(enlarged[::2], coloured[::2]) == 0
    assert torch.equal(enlarged[1], enlarged[1, :1].expand(3, -1, -1))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert (enlarged[1, 0] - (coloured[1] * weights).sum(0)).abs().max() <= 1
    assert difference(coloured[1], enlarged[1]) > 2, "the network alone does not keep it grey"


def test_grey_images_are_close_to_those_of_the_package(anime, pictures):
    grey = pictures(1, 14, 12)[0, 0].numpy()
    peer = RealESRGANUpscaler(anime, 2)
    package = realesrgan_engine._upsampler(peer.network, peer.scale, torch.device("cpu"), False, 0, 10)
    expected = package.enhance(grey, outscale=2)[0]
    assert expected.shape == (28, 24)
    found = BatchedUpscaler(anime, 2)(torch.from_numpy(grey).expand(1, 3, -1, -1))[0, 0].numpy()
    assert np.abs(found.astype(int) - expected).max() <= 3


def test_one_pixel_images_are_enlarged(small_rrdb):
    upscaler = BatchedUpscaler(small_rrdb(2))
    assert upscaler(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).shape == (1, 3, 2, 2)


@pytest.mark.slow
def test_reduced_precision_is_close_to_float32(x4plus, pictures):
    images = pictures(1, 24, 24)
    exact = BatchedUpscaler(x4plus, 2)(images).int()
    off = (BatchedUpscaler(x4plus, 2, precision="bfloat16")(images).int() - exact).abs()
    assert 0 < off.max() <= 8
    assert off.float().mean() < 0.6
    assert default_precision("cuda") == "float16"
    assert default_precision("cpu") == "float32"


def test_the_given_network_is_not_changed(anime):
    BatchedUpscaler(anime, precision="bfloat16")
    BatchedUpscaler(anime, precision="float16")
    assert {value.dtype for value in anime.state_dict().values()} == {torch.float32}


def test_arrays_are_accepted_and_returned(anime, pictures):
    arrays = list(pictures(2, 12, 10).permute(0, 2, 3, 1).numpy())
    enlarged = BatchedUpscaler(anime, 3).upscale(arrays)
    assert [image.shape for image in enlarged] == [(36, 30, 3)] * 2
    shrunk = [cv2.resize(image, (10, 12), interpolation=cv2.INTER_AREA).astype(float) for image in enlarged]
    off = np.abs(shrunk[1] - arrays[1]).mean()
    assert off < 25
    assert np.abs(shrunk[0] - arrays[1]).mean() > 2 * off, "pictures must stay in order"
    assert np.abs(shrunk[1] - arrays[1][..., ::-1]).mean() > 2 * off, "colour channels must stay in place"


def test_lanczos_is_opencvs(pictures):
    images = pictures(2, 20, 28).permute(0, 2, 3, 1).contiguous().numpy()
    resized = resize_lanczos(images, 10, 15)
    for image, result in zip(images, resized, strict=True):
        np.testing.assert_array_equal(result, cv2.resize(image, (15, 10), interpolation=cv2.INTER_LANCZOS4))


def test_lanczos_needs_no_network(pictures):
    images = pictures(2, 20, 28)
    enlarged = LanczosUpscaler(1.5)(images)
    expected = cv2.resize(images[1].permute(1, 2, 0).numpy(), (42, 30), interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(enlarged[1].permute(1, 2, 0).numpy(), expected)
    assert LanczosUpscaler(1.5).describe() != LanczosUpscaler(2).describe()


def test_settings_that_affect_the_pixels_are_described(anime, small_srvgg):
    base = BatchedUpscaler(anime, 2).describe()
    assert base["engine"] == "batched"
    assert base["network"] == "SRVGGNetCompact"
    for other in (
        BatchedUpscaler(small_srvgg, 2),
        BatchedUpscaler(anime, 4),
        BatchedUpscaler(anime, 2, "bfloat16"),
        BatchedUpscaler(anime, 2, tile=256),
        RealESRGANUpscaler(anime, 2),
    ):
        assert other.describe() != base


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outscale": 0}, "outscale must be positive"),
        ({"precision": "float8"}, "precision must be one of"),
        ({"tile": 15}, "must be multiples of 2"),
        ({"tile_overlap": -2}, "must be multiples of 2"),
    ],
)
def test_impossible_settings_are_refused(small_rrdb, arguments, message):
    with pytest.raises(InvalidOptionError, match=message):
        BatchedUpscaler(small_rrdb(2), **arguments)


def test_faces_are_restored_on_request(anime, pictures, monkeypatch, tmp_path):
    """GFPGAN needs downloads, so a fake with its interface records the arguments."""
    calls, face = [], torch.zeros(1, 3, 8, 8)

    class Restorer:
        def __init__(self, model_path, upscale, arch, channel_multiplier, bg_upsampler, device):
            assert (arch, channel_multiplier, upscale) == ("clean", 2, 2.0)
            self.background = bg_upsampler
            self.gfpgan = torch.nn.Identity()

        def enhance(self, image, has_aligned, only_center_face, paste_back):
            calls.append((has_aligned, only_center_face, paste_back))
            try:
                self.gfpgan(face)
            except RuntimeError as error:
                print(error)
            enlarged = self.background.enhance(image, outscale=2)[0]
            enlarged[..., 0] = 7  # blue comes first in the package's arrays
            return [], [], enlarged

    monkeypatch.setitem(sys.modules, "gfpgan", types.SimpleNamespace(GFPGANer=Restorer))
    weights = tmp_path / "GFPGANv1.3.pth"
    with pytest.raises(MissingFileError, match=r"no weights of GFPGAN at .*GFPGANv1.3.pth"):
        RealESRGANUpscaler(anime, 2, face_enhancer=weights)
    weights.write_bytes(b"weights")
    images = pictures(2, 10, 10)
    restored = RealESRGANUpscaler(anime, 2, face_enhancer=weights)
    output = restored(images)
    plain = RealESRGANUpscaler(anime, 2)
    assert (output[:, 2] == 7).all()
    assert torch.equal(output[:, :2], plain(images)[:, :2])
    assert calls == [(False, False, True)] * 2
    assert restored.describe() != plain.describe()
    monkeypatch.setattr(torch.nn.Identity, "forward", out_of_memory)
    with pytest.raises(NetworkError, match=r"Identity failed on an input of shape \(1, 3, 8, 8\): CUDA out of"):
        RealESRGANUpscaler(anime, 2, face_enhancer=weights)(images)


def out_of_memory(self, *args):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_reference_engine_does_not_reuse_a_tile_when_memory_is_short(small_srvgg, pictures, monkeypatch):
    images = pictures(1, 20, 20)
    upscaler = RealESRGANUpscaler(small_srvgg, tile=16)
    upscaler(images)
    network = type(upscaler.network)
    original = network.forward

    def fail_on_narrow(self, image):
        return original(self, image) if image.shape[-1] > 16 else out_of_memory(self)

    monkeypatch.setattr(network, "forward", fail_on_narrow)
    with pytest.raises(NetworkError, match=r"failed on an input of shape .*out of memory.*smaller tile"):
        upscaler(images)


def test_the_reference_engine_cuts_only_images_larger_than_a_tile(small_srvgg, pictures, capsys):
    upscaler = RealESRGANUpscaler(small_srvgg, tile=16)
    upscaler(pictures(2, 16, 12))
    assert capsys.readouterr().out == ""
    upscaler(pictures(1, 16, 17))
    assert "Tile 2/2" in capsys.readouterr().out
    upscaler(pictures(1, 16, 16))
    assert capsys.readouterr().out == ""


def test_the_missing_package_is_named(anime, monkeypatch, tmp_path):
    (tmp_path / "gfpgan.py").write_text("import facexlib.utils")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gfpgan", raising=False)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    with pytest.raises(MissingFileError, match=r"needs the package facexlib .*isolation facexlib`"):
        RealESRGANUpscaler(anime, 2, face_enhancer=weights)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
