import pytest
import torch

from affect.networks.batch_slices import PIXELS_AT_ONCE, cut_to_cache, in_slices


@pytest.mark.parametrize(
    ("batch", "side", "multiple", "sizes"),
    [
        (9, 224, 1, [3, 3, 3]),
        (8, 224, 2, [4, 4]),
        (3, 224, 4, [1, 1, 1]),
        (40, 96, 1, [20, 20]),
        (32, 96, 2, [16, 16]),
        (5, 800, 1, [1] * 5),
        (1, 32, 2, [1]),
    ],
)
def test_slices_are_even_and_fit(batch: int, side: int, multiple: int, sizes: list[int]) -> None:
    image = torch.arange(batch, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, side, side)
    slices = cut_to_cache(image, multiple)
    assert [len(part) for part in slices] == sizes
    assert all(len(part) == 1 or len(part) * side * side <= PIXELS_AT_ONCE for part in slices)
    assert torch.cat(slices)[:, 0, 0, 0].tolist() == list(range(batch))


def test_images_need_not_be_square() -> None:
    assert [len(part) for part in cut_to_cache(torch.zeros(9, 3, 448, 112))] == [3, 3, 3]
    assert [len(part) for part in cut_to_cache(torch.zeros(9, 3, 112, 112))] == [9]


def test_an_encoder_in_slices_gives_the_same_rows() -> None:
    image = torch.randn(7, 3, 300, 300)
    encode = in_slices(lambda part: part.mean((2, 3)))
    assert torch.equal(encode(image), image.mean((2, 3)))
