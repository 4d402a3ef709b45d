"""Boxes and predictions drawn into a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from affect.storage.atomic_write import write_bytes

_COLOURS: Final = (
    (31, 119, 180), (214, 39, 40), (44, 130, 44), (148, 73, 189), (200, 100, 0), (0, 140, 150), (160, 60, 110),
    (90, 90, 90),
)  # fmt: skip
"""Of persons, in turn; white text can be read on each."""
_FONT: Final = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def draw_faces(image: NDArray[np.uint8], rows: pd.DataFrame) -> NDArray[np.uint8]:
    """Draw box, person, expression, valence and arousal, and active units of each face.

    A caption stands below its face, or above or beside it where it would cover less of other faces and captions.

    Args:
        image: RGB, shape (H, W, 3).
        rows: The picture's rows of the final table.

    Returns:
        A copy with the drawing.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    faces = rows[rows["person"].notna()].to_dict("records")
    boxes = [_Box(*(int(row[name]) for name in ("left", "top", "width", "height"))) for row in faces]
    largest = min(image.shape[:2]) / 32
    size = round(max(11, min([largest, *(box.width / 7 for box in boxes)])))
    font = ImageFont.truetype(str(_FONT), size)
    captions: list[_Box] = []
    for row, box in zip(faces, boxes, strict=True):
        colour = _colour(row)
        corner = (box.left + box.width - 1, box.top + box.height - 1)
        pen.rectangle((box.left, box.top, *corner), outline=colour, width=max(1, size // 6))
        lines = caption(row)
        width = round(max(pen.textlength(line, font) for line in lines)) + size // 2
        height = round(1.25 * size * len(lines)) + size // 4
        occupied = [other for other in boxes if other is not box] + captions
        captions.append(_place(box, width, height, occupied, image.shape))
    for row, place in zip(faces, captions, strict=True):
        pen.rectangle((place.left, place.top, place.left + place.width, place.top + place.height), fill=_colour(row))
        for index, line in enumerate(caption(row)):
            pen.text((place.left + size // 4, place.top + size // 8 + round(1.25 * size * index)), line, "white", font)
    return np.asarray(picture)


class _Box(NamedTuple):
    left: int
    top: int
    width: int
    height: int

    def overlap(self, other: "_Box") -> int:
        """Return the pixels that both cover."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


def _colour(row: Mapping[Any, Any]) -> tuple[int, int, int]:
    return _COLOURS[(int(row["person"]) - 1) % len(_COLOURS)]


def _place(box: _Box, width: int, height: int, occupied: Sequence[_Box], shape: tuple[int, ...]) -> _Box:
    """Choose the place of a caption within the picture that covers least of its face and of what is occupied."""
    beside = box.top + box.height - height
    corners = (
        (box.left, box.top + box.height), (box.left, box.top - height),
        (box.left + box.width, beside), (box.left - width, beside),
    )  # fmt: skip
    places = [
        _Box(max(0, min(left, shape[1] - width)), max(0, min(top, shape[0] - height)), width, height)
        for left, top in corners
    ]
    return min(places, key=lambda place: sum(place.overlap(other) for other in (box, *occupied)))


def caption(row: Mapping[Any, Any]) -> list[str]:
    """Return the lines that are written to a face, from its row of the final table."""
    first = f"{row['person']}"
    if isinstance(row.get("expression"), str):
        first += f" {row['expression']} {row['p_' + row['expression']]:.0%}"
    lines = [first]
    if values := [f"{name[0].upper()} {row[name]:+.2f}" for name in ("valence", "arousal") if name in row]:
        lines.append("  ".join(values))
    units = [name.removesuffix("_active") for name, on in row.items() if name.endswith("_active") and on == 1]
    return lines + [" ".join(units[start : start + 4]) for start in range(0, len(units), 4)]


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image as JPEG, atomically.

    Raises:
        StorageError: If it cannot be written.
    """
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    write_bytes(path, content.tobytes())
