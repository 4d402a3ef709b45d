"""Decoding of image files to upright uint8 RGB arrays, the same for training, prediction and upscaling.

* EXIF orientation is applied, as photo viewers do. Boxes and landmarks refer to pixels as stored: a crop is
  taken before the image is rotated.
* Transparent pixels are blended with white.
* Samples of 16 bits are reduced to their upper 8; grey is spread over three equal channels; of an animation the first
  frame is used.
* JPEGs are decoded by OpenCV, in half of Pillow's time; all other formats by Pillow, which reports bit depth
  and transparency.
"""

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from affect.errors import UserError
from datamodules.images.decoder_messages import with_messages
from datamodules.images.jpeg_header import SIGNATURE, TruncatedJpegError, inspect_jpeg
from datamodules.images.orientation import orientation_of, turn_back, turn_upright

MAX_PIXELS: Final = 100_000_000
"""Largest number of pixels that is decoded: 300 MB as an array."""
MAX_BYTES: Final = 8 * MAX_PIXELS
"""Largest file that is read: as many pixels of four 16-bit channels, uncompressed."""
_FORMATS: Final = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_WHITE: Final = (255, 255, 255, 255)


class UnreadableImageError(UserError):
    """An image is missing, truncated, too large or not an image; the message names the file."""


class InaccessibleImageError(UnreadableImageError):
    """An image cannot be read at the moment: no permission, or a disk or network failure."""


def read_image(
    path: str | Path,
    box: Sequence[int] | None = None,
    on_read: Callable[[os.stat_result], None] | None = None,
) -> NDArray[np.uint8]:
    """Decode an image file by the rules above.

    Args:
        path: The file.
        box: Left, top, width and height of the crop, in pixels as stored; clipped to the image.
        on_read: Called with the state of the opened file after its content was read and before it is decoded.

    Returns:
        RGB values, upright, shape (H, W, 3).

    Raises:
        UnreadableImageError: If the file is missing, no regular file, no image, truncated, has over `MAX_PIXELS`
            pixels, or the box is outside the image.
        InaccessibleImageError: If the system does not give it.
    """
    _check_regular(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise InaccessibleImageError(f"{path}: {error.strerror or error}") from error
    if on_read is not None:
        on_read(status)
    image, orientation = (_decode_jpeg if content[:3] == SIGNATURE else _decode_other)(path, content)
    if box is not None:
        image = crop(image, box, str(path))
    return turn_upright(image, orientation)


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself, read without decoding it.

    Attributes:
        width: Columns as stored.
        height: Rows as stored.
        orientation: EXIF orientation, 1 to 8.
        is_deep: Whether samples have over 8 bits (PNG, TIFF and PPM).
        is_transparent: Whether it has transparent pixels, or may have them.
    """

    width: int
    height: int
    orientation: int
    is_deep: bool
    is_transparent: bool


def read_header(path: str | Path) -> ImageHeader:
    """Read the header of an image.

    Raises:
        UnreadableImageError: As `read_image` does, as far as the header shows.
        InaccessibleImageError: If the system refuses access.
    """
    with _opened(path) as image:
        deep, transparent = _is_deep(image), image.has_transparency_data
        orientation = orientation_of(image)  # which may load it, after which nothing is left to be seen of its depth
        width, height = image.size
        swapped = image.format == "TIFF" and orientation >= 5  # Pillow returns the upright size
        size = (height, width) if swapped else (width, height)
        return ImageHeader(*size, orientation, deep, transparent)


def is_deep(path: str | Path) -> bool:
    """Return whether an image file's header says that samples have over 8 bits (PNG, TIFF and PPM).

    Raises:
        UnreadableImageError: As `read_image` does, as far as the header shows.
        InaccessibleImageError: If the system refuses access.
    """
    return read_header(path).is_deep


def _is_deep(image: ImageFile) -> bool:
    decoders = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in image.tile]
    arguments = [argument for decoder in decoders for argument in decoder]
    largest = max((argument for argument in arguments if isinstance(argument, int)), default=0)
    layouts = [image.mode, *(argument for argument in arguments if isinstance(argument, str))]
    return image.mode == "I" or any(";16" in layout for layout in layouts) or (image.format == "PPM" and largest > 255)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[ImageFile]:
    """Open an image with Pillow, which reads its header; all errors become UnreadableImageError."""
    _check_regular(path)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise InaccessibleImageError(f"{path}: {error.strerror or error}") from error
        stack.enter_context(_pillows_errors(path))
        image = stack.enter_context(Image.open(file, formats=_FORMATS))
        _check_size(path, *image.size)
        yield image


@contextlib.contextmanager
def _pillows_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        raise UnreadableImageError(f"{path}: {_describe(error)}") from error


def _check_regular(path: str | Path) -> None:
    """Reject anything but a regular file before it is opened, since opening a pipe would block."""
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableImageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # a null character
        raise UnreadableImageError(f"{str(path)!r} cannot be a path: {error}") from error
    except OSError as error:
        raise InaccessibleImageError(f"{path}: {error.strerror or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError(f"{path}: is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError(f"{path}: not a regular file")
    if not status.st_size:
        raise UnreadableImageError(f"{path}: the file is empty; copy it again from the source")
    if status.st_size > MAX_BYTES:
        raise UnreadableImageError(f"{path}: {status.st_size:,} bytes; an image may have {MAX_BYTES:,}")


def _check_size(path: str | Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{path}: {width} x {height} pixels; an image may have {MAX_PIXELS:,}; make it smaller"
        )


def _decode_jpeg(path: str | Path, content: bytes) -> tuple[NDArray[np.uint8], int]:
    """Return pixels as stored and the orientation."""
    truncated = f"{path}: truncated JPEG ({len(content)} bytes); copy it again from the source"
    try:
        header = inspect_jpeg(content)
    except TruncatedJpegError:
        raise UnreadableImageError(truncated) from None
    _check_size(path, header.width, header.height)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image, printed = with_messages(lambda: cv2.imdecode(np.frombuffer(content, np.uint8), flags))
    except cv2.error as error:
        raise UnreadableImageError(f"{path}: OpenCV cannot decode it ({error.err})") from error
    if "remature end" in printed:  # libjpeg fills what is missing with grey
        raise UnreadableImageError(truncated)
    if image is None:
        raise UnreadableImageError(f"{path}: not an image that OpenCV can decode ({len(content)} bytes)")
    if printed:
        warnings.warn(f"{path}: {printed}", stacklevel=2)
    return image, header.orientation


def _decode_other(path: str | Path, content: bytes) -> tuple[NDArray[np.uint8], int]:
    """Return pixels as stored and the orientation, for formats other than JPEG."""
    if content.startswith(_PNG_SIGNATURE):
        # Pillow decodes damaged pixel data without an error; only `verify` checks the checksums.
        with _pillows_errors(path), Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.verify()
    with _pillows_errors(path), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        _check_size(path, *image.size)
        (pixels, orientation), printed = with_messages(lambda: _load(image))
        if printed:
            warnings.warn(f"{path}: {printed}", stacklevel=2)
        if image.format == "TIFF":  # the only format that Pillow turns itself
            pixels = turn_back(pixels, orientation)
        return pixels, orientation


def _load(image: Image.Image) -> tuple[NDArray[np.uint8], int]:
    orientation = orientation_of(image)  # a TIFF loses it on loading
    return _to_rgb(image), orientation


def crop(image: NDArray[np.uint8], box: Sequence[int], name: str) -> NDArray[np.uint8]:
    """Cut a box out of an image, without a copy.

    Args:
        image: Pixels, shape (H, W, 3).
        box: Left, top, width and height in pixels; clipped to the image.
        name: Of the image, for the error message.

    Raises:
        UnreadableImageError: If the box is outside the image.
    """
    left, top, width, height = (int(value) for value in box)
    part = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if not part.size:
        size = "{1} x {0}".format(*image.shape)
        raise UnreadableImageError(f"{name}: face box {left},{top} {width} x {height} is outside the image of {size}")
    return part


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "I" or image.mode.startswith("I;16"):
        if image.mode == "I" and image.format not in ("PNG", "PPM"):
            raise ValueError("pixels of 32 bits have no defined white")
        levels = np.asarray(image)
        grey = (levels >> 8).clip(0, 255).astype(np.uint8)
        grey[levels == image.info.get("transparency", -1)] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("pixels of floating point have no defined white")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", shown.size, _WHITE), shown)
    return np.array(image.convert("RGB"))


def _describe(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can decode"
    if isinstance(error, Image.DecompressionBombError):
        return f"an image may have {MAX_PIXELS:,} pixels: {error}"
    return f"not an image that Pillow can decode: {str(error) or type(error).__name__}"
