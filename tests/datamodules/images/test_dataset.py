from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from affect.errors import InvalidOptionError
from datamodules.frame_chunks import FrameChunks
from datamodules.frame_survey import survey_frames
from datamodules.images.dataset import ImageDataset, UnreadableImageError, collate_images, resize
from datamodules.images.tree import ImageBatches, scan_images


def pixels(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


@pytest.mark.parametrize("size", [(350, 350), (425, 330), (600, 224), (672, 672), (1000, 200)])
def test_shrinking_gives_pillows_antialiased_picture(size: tuple[int, int]):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((224, 224), Image.Resampling.BILINEAR))
    found = resize(noise, 224)
    assert np.abs(found.astype(int) - expected).max() <= 1
    aliased = cv2.resize(noise, (224, 224), interpolation=cv2.INTER_LINEAR)
    assert np.abs(aliased.astype(int) - expected).mean() > 5
    assert found.flags["C_CONTIGUOUS"]


def test_enlarging_is_bilinear_and_the_right_size_is_not_resampled():
    image = pixels()
    assert np.array_equal(resize(image, 64), cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR))
    assert np.array_equal(resize(pixels(16, 16), 16), pixels(16, 16))


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


def test_an_unreadable_image_is_an_error_with_a_remedy(folder: Path):
    for index, reason in ((1, "truncated"), (2, "is empty"), (3, "No such file"), (4, "face box")):
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


def test_boxes_cut_the_pixels_as_stored_and_the_part_is_turned_upright(folder: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels()).save(folder / "0.jpg", exif=turned, quality=95)
    stored = np.asarray(Image.open(folder / "0.jpg"))
    expected = resize(np.rot90(stored[5:15, 5:15], -1).copy(), 8)
    assert np.array_equal(dataset(folder)[0]["image"], expected)


def test_training_extraction_and_upscaling_see_a_photo_alike(folder: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    (folder / "photos").mkdir()
    Image.fromarray(pixels()).save(folder / "photos" / "0.jpg", exif=turned, quality=95)
    upright = np.array(ImageOps.exif_transpose(Image.open(folder / "photos" / "0.jpg")))
    upscaled = ImageBatches(scan_images(folder / "photos"), 1)[0]["groups"][0]["image"]
    assert np.array_equal(upscaled[0].permute(1, 2, 0).numpy(), upright)
    trained = dataset(folder / "photos", boxes=None)[0]["image"]
    survey = survey_frames(folder, ["photos/0.jpg"])
    extracted = FrameChunks(survey, [(0, slice(0, 1))], 8)[0]["image"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(trained, resize(upright, 8))
    assert np.array_equal(trained, extracted)


def test_the_face_in_view_is_the_same_whichever_way_it_is_stored(folder: Path):
    """Also the box that is given for the pixels as stored."""
    for orientation, stored in ((1, pixels()), (6, np.rot90(pixels())), (3, np.rot90(pixels(), 2))):
        turned = Image.Exif()
        turned[0x0112] = orientation
        Image.fromarray(stored).save(folder / f"{orientation}.png", exif=turned)
    boxes = np.array([[4, 2, 10, 12], [2, 18, 12, 10], [18, 10, 10, 12]], np.int32)
    data = dataset(folder, paths=["1.png", "6.png", "3.png"], labels={}, boxes=boxes)
    first, *others = (data[index]["image"] for index in range(3))
    assert np.array_equal(first, resize(pixels()[2:14, 4:14], 8))
    assert all(np.array_equal(first, other) for other in others)


def test_batches_are_channels_last_without_a_copy(folder: Path):
    samples = [dataset(folder)[index] for index in (0, 5)]
    image = collate_images(samples)["image"]
    assert image.shape == (2, 3, 8, 8)
    assert image.dtype == torch.uint8
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(image[1].permute(1, 2, 0).numpy(), samples[1]["image"])
    assert "skipped" not in collate_images(samples)


def test_augmentation_is_applied_to_the_crop_before_resizing(folder: Path):
    seen = []

    def invert(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return 255 - image

    plain, inverted = dataset(folder)[0]["image"], dataset(folder, augment=invert)[0]["image"]
    assert seen == [(10, 10, 3)]
    np.testing.assert_allclose(inverted.astype(int), 255 - plain.astype(int), atol=1)


def test_names_default_to_paths(folder: Path):
    assert dataset(folder)[0]["name"] == "0.jpg"
    assert dataset(folder, names=[f"video/{number}" for number in range(6)])[5]["name"] == "video/5"


def test_wrong_arguments_are_named(folder: Path):
    with pytest.raises(InvalidOptionError, match=r"on_corrupt must be one of.*'ignore'"):
        dataset(folder, on_corrupt="ignore")
    with pytest.raises(ValueError, match=r"6 paths.*\{'expression': 5\}"):
        dataset(folder, labels={"expression": np.arange(5)})
