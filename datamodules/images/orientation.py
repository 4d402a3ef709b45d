"""EXIF orientation: read, and applied to pixels and points."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TAG: Final = 0x0112
_COLUMNS_REVERSED: Final = (2, 3, 6, 7)
_ROWS_REVERSED: Final = (3, 4, 7, 8)


def orientation_of(image: Image.Image) -> int:
    """Read the orientation of an opened image, 1 to 8; 1, upright, where it has none or an invalid one."""
    try:
        return _valid(image.getexif())
    except Exception:  # Pillow raises errors of many kinds for damaged EXIF data
        return 1


def parse_orientation(data: bytes) -> int:
    """Read the orientation from EXIF data that begin with `Exif`; 1, upright, if they hold none."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return _valid(exif)
    except Exception:  # as above
        return 1


def _valid(exif: Image.Exif) -> int:
    value = exif.get(_TAG)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels as stored, shape (H, W, 3), by their orientation, 1 to 8."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in _ROWS_REVERSED:
        image = image[::-1]
    if orientation in _COLUMNS_REVERSED:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def turn_back(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo `turn_upright`."""
    return turn_upright(image, {6: 8, 8: 6}.get(orientation, orientation))


def turn_points_upright(points: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Turn points of an image, x and y from -1 to 1, shape (..., 2), as `turn_upright` turns its pixels."""
    if orientation >= 5:
        points = points[..., ::-1]
    signs = np.ones(2, np.float32)
    signs[0] -= 2 * (orientation in _COLUMNS_REVERSED)
    signs[1] -= 2 * (orientation in _ROWS_REVERSED)
    return points * signs
