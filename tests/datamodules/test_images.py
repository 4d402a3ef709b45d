from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from affect.errors import InvalidOptionError
from datamodules.images import ImageDataset, UnreadableImageError, collate_images, crop_and_resize, read_image


def pixels(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def test_pixels_are_rgb_and_exact_for_png(tmp_path: Path):
    image = pixels()
    assert np.array_equal(read_image(write(tmp_path / "a.png", image)), image)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_other_formats_come_near(tmp_path: Path, suffix: str):
    image = pixels()
    found = read_image(write(tmp_path / f"a{suffix}", image))
    assert np.abs(found.astype(int) - image).mean() < 8


def test_grey_and_transparent_images_have_three_channels(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "grey.png"), pixels()[:, :, 0])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([pixels(), pixels()[:, :, 0]]))
    assert read_image(tmp_path / "grey.png").shape == (24, 32, 3)
    assert read_image(tmp_path / "alpha.png").shape == (24, 32, 3)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_truncated_jpeg_is_named_wherever_it_ends(tmp_path: Path, share: float, progressive: int):
    parameters = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_QUALITY, 95]
    _, content = cv2.imencode(".jpg", pixels(96, 128), parameters)
    whole = content.tobytes()
    (tmp_path / "a.jpg").write_bytes(whole)
    read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: "):
        read_image(tmp_path / "a.jpg")


def test_a_whole_thumbnail_does_not_hide_a_truncated_jpeg(tmp_path: Path):
    thumbnail = cv2.imencode(".jpg", pixels(8, 8))[1].tobytes()
    whole = cv2.imencode(".jpg", pixels(96, 128))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    (tmp_path / "a.jpg").write_bytes(with_thumbnail)
    assert read_image(tmp_path / "a.jpg").shape == (96, 128, 3)
    (tmp_path / "a.jpg").write_bytes(with_thumbnail[:-50])
    with pytest.raises(UnreadableImageError, match="truncated JPEG"):
        read_image(tmp_path / "a.jpg")


def test_a_truncated_png_is_named(tmp_path: Path):
    path = write(tmp_path / "a.png", pixels())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableImageError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"GIF?", b"\xff\xd8", b"<html></html>"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"a\.jpg: not an image .*\({len(content)} bytes\)"):
        read_image(tmp_path / "a.jpg")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: No such file"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "box",
    [(4, 6, 10, 12), (0, 0, 32, 24), (-5, -3, 20, 10), (25, 20, 50, 50), (31, 23, 1, 1), (-5, -5, 100, 100)],
)
def test_the_crop_is_the_plain_slice_of_the_part_inside(box: tuple[int, int, int, int]):
    image = pixels()
    left, top, width, height = box
    rows = [row for row in range(top, top + height) if 0 <= row < 24]
    columns = [column for column in range(left, left + width) if 0 <= column < 32]
    part = np.ascontiguousarray(image[np.ix_(rows, columns)])
    expected = cv2.resize(part, (16, 16), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(crop_and_resize(image, box, 16), expected)


def test_a_crop_of_the_right_size_is_not_resampled():
    image = pixels()
    found = crop_and_resize(image, (3, 2, 16, 16), 16)
    assert np.array_equal(found, image[2:18, 3:19])
    assert found.flags["C_CONTIGUOUS"]
    assert np.array_equal(crop_and_resize(pixels(16, 16), None, 16), pixels(16, 16))


@pytest.mark.parametrize("box", [(32, 0, 5, 5), (0, 24, 5, 5), (-9, 0, 9, 5), (4, 4, 0, 5)])
def test_a_box_outside_is_an_error(box: tuple[int, int, int, int]):
    with pytest.raises(ValueError, match=r"outside an image of \(32, 24\)"):
        crop_and_resize(pixels(), box, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, of which 1 is truncated, 2 empty, 3 missing, and 4 smaller than its box."""
    for number in range(6):
        write(tmp_path / f"{number}.jpg", pixels(seed=number))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-40])
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "3.jpg").unlink()
    write(tmp_path / "4.jpg", pixels(4, 4))
    return tmp_path


def dataset(folder: Path, **changes: Any) -> ImageDataset:
    arguments = {
        "root": folder, "paths": [f"{number}.jpg" for number in range(6)], "size": 8,
        "labels": {"expression": np.arange(6), "valence_arousal": np.arange(12, dtype=np.float32).reshape(6, 2)},
        "boxes": np.array([[5, 5, 10, 10]] * 6, np.int32),
    }  # fmt: skip
    return ImageDataset(**(arguments | changes))


def test_an_unreadable_image_stops_the_run_and_says_how_to_go_on(folder: Path):
    for index, reason in ((1, "truncated"), (2, "not an image"), (3, "No such file"), (4, "face box")):
        with pytest.raises(UnreadableImageError, match=rf"{index}\.jpg.*{reason}.*data\.on_corrupt=skip"):
            dataset(folder)[index]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipping_leaves_unreadable_images_out_and_reports_each(folder: Path, num_workers: int):
    loader = DataLoader(
        dataset(folder, on_corrupt="skip"), batch_size=6, collate_fn=collate_images, num_workers=num_workers
    )
    batch = next(iter(loader))
    assert batch["name"] == ["0.jpg", "5.jpg"]
    assert batch["expression"].tolist() == [0, 5]
    assert batch["valence_arousal"].tolist() == [[0, 1], [10, 11]]
    assert len(batch["skipped"]) == 4
    assert all(f"{number}.jpg" in reason for number, reason in enumerate(batch["skipped"], start=1))


def test_a_batch_without_a_single_image_has_the_shapes_of_any_other_and_no_rows(folder: Path):
    data = dataset(folder, on_corrupt="skip")
    whole, empty = (collate_images([data[index] for index in indices]) for indices in ((0, 5), (1, 2)))
    assert {key for key in empty if key != "skipped"} == set(whole)
    for key in ("image", "expression", "valence_arousal"):
        assert empty[key].shape == (0, *whole[key].shape[1:])
        assert empty[key].dtype == whole[key].dtype
    assert empty["name"] == []
    assert [reason.split(": ")[0] for reason in empty["skipped"]] == [
        str(folder / "1.jpg"),
        str(folder / "2.jpg"),
    ]


def test_boxes_cut_the_pixels_as_they_are_stored_whatever_exif_says(folder: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels()).save(folder / "0.jpg", exif=turned, quality=95)
    assert read_image(folder / "0.jpg").shape == (32, 24, 3)
    stored = read_image(folder / "0.jpg", upright=False)
    assert np.array_equal(stored, np.asarray(Image.open(folder / "0.jpg")))
    expected = crop_and_resize(stored, (5, 5, 10, 10), 8)
    assert np.array_equal(dataset(folder)[0]["image"], expected)


def test_batches_are_channels_last_without_a_copy(folder: Path):
    samples = [dataset(folder)[index] for index in (0, 5)]
    image = collate_images(samples)["image"]
    assert image.shape == (2, 3, 8, 8)
    assert image.dtype == torch.uint8
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(image[1].permute(1, 2, 0).numpy(), samples[1]["image"])
    assert "skipped" not in collate_images(samples)


def test_augmentation_sees_the_image_before_it_is_cropped(folder: Path):
    seen = []

    def invert(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return 255 - image

    plain, inverted = dataset(folder)[0]["image"], dataset(folder, augment=invert)[0]["image"]
    assert seen == [(24, 32, 3)]
    np.testing.assert_allclose(inverted.astype(int), 255 - plain.astype(int), atol=1)


def test_names_default_to_paths(folder: Path):
    assert dataset(folder)[0]["name"] == "0.jpg"
    assert dataset(folder, names=[f"video/{number}" for number in range(6)])[5]["name"] == "video/5"


def test_wrong_arguments_are_named(folder: Path):
    with pytest.raises(InvalidOptionError, match=r"on_corrupt must be one of.*'ignore'"):
        dataset(folder, on_corrupt="ignore")
    with pytest.raises(ValueError, match=r"6 paths.*\{'expression': 5\}"):
        dataset(folder, labels={"expression": np.arange(5)})
