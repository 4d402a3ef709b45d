import cv2
import numpy as np
import pytest
import torch

from datamodules.transforms import DeviceTransform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(count: int = 4, channels_last: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    stacked = torch.randint(0, 256, (count, 5, 7, 3), dtype=torch.uint8, generator=generator)
    image = stacked.permute(0, 3, 1, 2)
    return image if channels_last else image.contiguous()


def reference(image: torch.Tensor) -> np.ndarray:
    pixels = image.numpy().astype(np.float64) / 255
    return (pixels - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_lookup_table_equals_the_arithmetic(channels_last: bool):
    image = images(channels_last=channels_last)
    transform = DeviceTransform(MEAN, STD)
    found = transform(image)
    assert found.dtype == torch.float32
    assert found.shape == image.shape
    np.testing.assert_allclose(found.numpy(), reference(image), atol=1e-6)
    torch.testing.assert_close(transform._compute(image), found, atol=1e-6, rtol=0)


def test_every_level_of_every_channel_is_right():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    np.testing.assert_allclose(DeviceTransform(MEAN, STD)(image).numpy(), reference(image), atol=1e-6)


def test_both_ways_keep_channels_last_memory():
    transform = DeviceTransform(MEAN, STD, flip=0.5, grey=0.5)
    for normalise in (lambda image: transform(image, training=True), transform, transform._compute):
        assert normalise(images()).is_contiguous(memory_format=torch.channels_last)


def test_flips_mirror_whole_images_and_only_while_training():
    image = images(64)
    plain = DeviceTransform(MEAN, STD)(image)
    transform = DeviceTransform(MEAN, STD, flip=0.5)
    assert torch.equal(transform(image), plain)
    torch.manual_seed(1)
    found = transform(image, training=True)
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(found, plain, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(found, plain, strict=True)]
    assert all(one != other for one, other in zip(flipped, kept, strict=True))
    assert 16 < sum(flipped) < 48
    always = DeviceTransform(MEAN, STD, flip=1.0)(image, training=True)
    assert torch.equal(always, plain.flip(-1))


def test_random_choices_follow_the_seed():
    transform = DeviceTransform(MEAN, STD, flip=0.5, grey=0.5)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(transform(images(32), training=True))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_grey_images_have_equal_channels_of_the_usual_brightness():
    image = images(8)
    found = DeviceTransform((0.0,) * 3, (1.0,) * 3, grey=1.0)(image, training=True) * 255
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    expected = [cv2.cvtColor(pixels.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for pixels in image]
    np.testing.assert_allclose(found[:, 0].numpy(), np.stack(expected), atol=1.01)
