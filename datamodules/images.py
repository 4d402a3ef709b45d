"""Images on disk to uint8 arrays: read, checked, cropped and resized with OpenCV."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from affect.errors import InvalidOptionError, UserError
from datamodules.image_files import missing_images

# OpenCV's own threads bring nothing to small images, and those started before a fork hang the workers after it.
cv2.setNumThreads(0)

ON_CORRUPT: Final = ("raise", "skip")


class UnreadableImageError(UserError):
    """An image is missing, truncated or no image; the message names the file."""


class InaccessibleImageError(UnreadableImageError):
    """An image may be there, but the system does not give it, for now: no permission, a disk or network failure."""


def read_image(
    path: str | Path, upright: bool = True, on_read: Callable[[os.stat_result], None] | None = None
) -> NDArray[np.uint8]:
    """Decode an image file.

    Args:
        path: The file.
        upright: Turn the image as its EXIF data say; otherwise give the pixels as they are stored.
        on_read: Called with the state of the opened file after its content was read and before it is decoded.

    Returns:
        RGB values, shape (H, W, 3).

    Raises:
        UnreadableImageError: If the file is missing, no image, or a JPEG that ends early (OpenCV would fill the rest of
            it with grey and say nothing).
        InaccessibleImageError: If the system does not give it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read()
            status = os.fstat(file.fileno())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UnreadableImageError(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise InaccessibleImageError(f"{path}: {error.strerror or error}") from error
    if on_read is not None:
        on_read(status)
    if content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise UnreadableImageError(
            f"{path}: truncated JPEG ({len(content)} bytes); copy it again from the source"
        )
    mode = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if content else None
    if image is None:
        raise UnreadableImageError(f"{path}: not an image that OpenCV can decode ({len(content)} bytes)")
    return image


def crop_and_resize(image: NDArray[np.uint8], box: Sequence[int] | None, size: int) -> NDArray[np.uint8]:
    """Cut a box out of an image, clipped to its borders, and resize it bilinearly.

    Args:
        image: RGB values, shape (H, W, 3).
        box: Left, top, width and height in pixels; None takes the whole image.
        size: Side of the square result in pixels.

    Raises:
        ValueError: If the box lies outside the image.
    """
    if box is not None:
        left, top, width, height = (int(value) for value in box)
        clipped = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        if not clipped.size:
            raise ValueError(
                f"face box {left},{top} {width} x {height} lies outside an image of {image.shape[:2][::-1]}"
            )
        image = clipped
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


class ImageDataset(Dataset[dict[str, Any]]):
    """Images with their labels, decoded to uint8 when asked for.

    Args:
        root: Folder that the paths are relative to.
        paths: One path per sample.
        size: Side of the square images in pixels.
        labels: Columns by batch key, each of length N (for the keys see the batch contract in the README).
        names: One image id per sample; by default the paths.
        boxes: Face boxes in pixels (left, top, width, height), shape (N, 4); by default whole images.
        augment: Maps an RGB uint8 array to another before resizing, for instance an albumentations pipeline.
        on_corrupt: `raise` stops at an unreadable image; `skip` gives a black one, with the reason as `skipped`.

    Attributes:
        unreadable: Messages by path of images known to be missing or unreadable, which are not tried.

    Raises:
        InvalidOptionError: If `on_corrupt` is neither.
        ValueError: If lengths differ.
    """

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[str],
        size: int,
        labels: Mapping[str, NDArray],
        names: Sequence[str] | None = None,
        boxes: NDArray[np.int32] | None = None,
        augment: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        on_corrupt: str = "raise",
    ) -> None:
        if on_corrupt not in ON_CORRUPT:
            raise InvalidOptionError(f"on_corrupt must be one of {ON_CORRUPT}, not {on_corrupt!r}")
        lengths = {key: len(column) for key, column in labels.items() if len(column) != len(paths)}
        if lengths:
            raise ValueError(f"{len(paths)} paths, but label columns of lengths {lengths}")
        self.root = Path(root)
        # One array of fixed-width text: a list of 287,651 strings is copied into every worker page by page.
        self.paths = np.asarray(paths, dtype=np.str_)
        self.names = self.paths if names is None else np.asarray(names, dtype=np.str_)
        self.size = size
        self.labels = {key: np.asarray(column) for key, column in labels.items()}
        self.boxes = boxes
        self.augment = augment
        self.on_corrupt = on_corrupt
        self.unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample: dict[str, Any] = {key: column[index] for key, column in self.labels.items()}
        sample["name"] = str(self.names[index])
        try:
            sample["image"] = self._read(index)
        except UnreadableImageError as error:
            if self.on_corrupt == "raise":
                remedy = "; repair the file, or leave such images out with data.on_corrupt=skip"
                raise UnreadableImageError(str(error) + remedy) from None
            sample["image"] = np.zeros((self.size, self.size, 3), np.uint8)
            sample["skipped"] = str(error)
        return sample

    def find_missing(self) -> None:
        """Note the images that have no file in `unreadable`, without reading any."""
        for path, reason in missing_images(self.root, self.paths.tolist()).items():
            self.unreadable.setdefault(path, f"{self.root / path}: {reason}")

    def _read(self, index: int) -> NDArray[np.uint8]:
        name = str(self.paths[index])
        if name in self.unreadable:
            raise UnreadableImageError(self.unreadable[name])
        path = self.root / name
        # As stored: the boxes and landmarks of published sets were made with tools that knew nothing of EXIF.
        image = read_image(path, upright=False)
        if self.augment is not None:
            image = self.augment(image)
        try:
            return crop_and_resize(image, None if self.boxes is None else self.boxes[index], self.size)
        except ValueError as error:
            raise UnreadableImageError(f"{path}: {error}") from error


def collate_images(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples into a batch.

    Returns:
        `image` as uint8 (B, 3, H, W) in channels-last memory order, the label columns as tensors, `name` as a list, and
        `skipped` as a list of reasons if any sample was. If all were, B is 0: the processes of a distributed run must
        have as many batches as each other.
    """
    kept = [sample for sample in samples if "skipped" not in sample]
    shown = kept or samples  # what was skipped still tells the shapes

    def column(key: str) -> NDArray:
        return np.stack([sample[key] for sample in shown])[: len(kept)]

    batch: dict[str, Any] = {
        key: torch.from_numpy(column(key)) for key in shown[0] if key not in ("image", "name", "skipped")
    }
    # Permuting (B, H, W, 3) gives channels-last memory without a copy.
    batch["image"] = torch.from_numpy(column("image")).permute(0, 3, 1, 2)
    batch["name"] = [sample["name"] for sample in kept]
    if len(kept) < len(samples):
        batch["skipped"] = [sample["skipped"] for sample in samples if "skipped" in sample]
    return batch
