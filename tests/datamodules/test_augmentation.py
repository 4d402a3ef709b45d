import numpy as np
import pytest
import torch

from datamodules.augmentation import ColourJitter, FaceAugmentation
from datamodules.images.dataset import resize

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


FACE = np.zeros((40, 30, 3), np.uint8)
FACE[10:20, 5:15] = (250, 20, 90)
STRONG: dict[str, float] = {
    "rotation": 15, "scale": 0.15, "shift": 0.3, "colour": 0.3, "grey": 0.5, "blur": 0.5, "erase": 0.5
}  # fmt: skip


def test_augmented_faces_have_the_networks_size_and_follow_from_torchs_seed() -> None:
    torch.manual_seed(5)
    first = [FaceAugmentation(24, **STRONG)(FACE) for _ in range(4)]
    torch.manual_seed(5)
    augmentation = FaceAugmentation(24, **STRONG)
    again = [augmentation(FACE) for _ in range(4)]
    for one, other in zip(first, again, strict=True):
        assert (one.shape, one.dtype) == ((24, 24, 3), np.uint8)
        np.testing.assert_array_equal(one, other)
    assert len({image.tobytes() for image in first}) == 4


def test_without_strength_a_face_is_only_resized() -> None:
    np.testing.assert_array_equal(FaceAugmentation(24)(FACE), resize(FACE, 24))


@pytest.mark.parametrize("name", STRONG)
def test_each_strength_changes_what_it_names(name: str) -> None:
    torch.manual_seed(0)
    plain = resize(IMAGE, 16).astype(int)
    changed = [FaceAugmentation(16, **{name: 1.0 if name in ("grey", "blur", "erase") else STRONG[name]})(IMAGE)
               for _ in range(8)]  # fmt: skip
    assert all((image != plain).any() for image in changed)
    if name == "grey":
        assert all((np.ptp(image, axis=2) == 0).all() for image in changed)
    if name == "erase":
        for image in changed:
            untouched = (image == plain).all(2)
            assert (image[~untouched] == 0).all()
            assert 0 < (~untouched).mean() <= 2 * 0.35**2  # two rectangles at most
    if name == "blur":
        assert all(np.abs(np.diff(image.astype(int), axis=1)).mean() < np.abs(np.diff(plain, axis=1)).mean()
                   for image in changed)  # fmt: skip
    if name == "colour":  # a change of the whole image: equal pixels stay equal
        half = np.repeat(np.array([[40, 90, 160], [200, 90, 30]], np.uint8)[None], 16, 0).repeat(8, 1)
        shades = {tuple(pixel) for pixel in FaceAugmentation(16, colour=0.3)(half).reshape(-1, 3)}
        assert len(shades) == 2


def test_a_shift_alone_moves_the_face_without_changing_its_size() -> None:
    torch.manual_seed(1)
    face = np.zeros((40, 40, 3), np.uint8)
    face[14:26, 14:26] = 255
    for _ in range(8):
        moved = FaceAugmentation(40, shift=0.1)(face)[..., 0] > 127
        rows, columns = moved.any(1).nonzero()[0], moved.any(0).nonzero()[0]
        assert abs(len(rows) - 12) <= 1
        assert abs(len(columns) - 12) <= 1
        assert abs(rows.mean() - 19.5) <= 4.6
        assert abs(columns.mean() - 19.5) <= 4.6
