import numpy as np
import torch

from datamodules.augmentation import ColourJitter

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_the_same_torch_seed_gives_the_same_changes() -> None:
    jitter = ColourJitter(0.3, 0.3, 0.3, 0.1)
    torch.manual_seed(3)
    first = [jitter(IMAGE) for _ in range(3)]
    ColourJitter(0.3, 0.3, 0.3, 0.1)(IMAGE)  # another pipeline's history does not matter
    torch.manual_seed(3)
    again = [ColourJitter(0.3, 0.3, 0.3, 0.1)(IMAGE) for _ in range(3)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], first[1])


def test_zero_jitter_leaves_the_image_unchanged() -> None:
    np.testing.assert_allclose(ColourJitter(0, 0, 0, 0)(IMAGE).astype(int), IMAGE.astype(int), atol=1)
