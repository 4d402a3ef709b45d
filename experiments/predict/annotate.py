"""Pictures and videos with the boxes and predictions drawn into them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import av.error
import cv2
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from affect.storage.atomic_write import atomic_path, write_bytes
from affect.storage.write_errors import StorageError
from datamodules.media.frame import Frame

_COLOURS: Final = (
    (31, 119, 180), (214, 39, 40), (44, 130, 44), (148, 73, 189), (200, 100, 0), (0, 140, 150), (160, 60, 110),
    (90, 90, 90),
)  # fmt: skip
"""Of persons, in turn; white text can be read on each."""
_TICKS: Final = Fraction(1, 60_000)
"""Unit of time stamps: fine enough for any rate, and as fine as MPEG-4 allows."""
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


class VideoFile:
    """An MP4 file that pictures are added to: H.264 if FFmpeg has an encoder of it here, otherwise MPEG-4.

    Args:
        path: The file, made by `opened`.
        rate: Pictures per second, for players and for pictures without time stamps.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._path, self._rate = path, rate
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, rate: Fraction | None) -> Iterator["VideoFile"]:
        """Write a file atomically; nothing is left of it on an error.

        Raises:
            StorageError: If it cannot be written.
        """
        with atomic_path(path) as temporary:
            file = cls(temporary, rate or Fraction(25))
            try:
                yield file
            finally:
                file._close()

    def add(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Add a picture at its frame's time; sides are made even, as the encoders need."""
        height, width = image.shape[:2]
        if self._container is None:
            self._begin(width + width % 2, height + height % 2)
        stream = self._stream
        if (width + width % 2, height + height % 2) != (stream.width, stream.height):  # the source changes its size
            image = cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_AREA)
        else:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        seconds = frame.number / float(self._rate) if np.isnan(frame.seconds) else frame.seconds
        picture.pts = self._last = max(round(seconds / _TICKS), self._last + 1)
        picture.time_base = _TICKS
        self._mux(picture)

    def _begin(self, width: int, height: int) -> None:
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
        encoder = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"preset": "veryfast", "crf": "20"} if encoder == "libx264" else {"qscale": "4"}
        stream = self._container.add_stream(encoder, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _TICKS
        self._stream = stream

    def _mux(self, picture: Any) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
        except av.error.FFmpegError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error

    def _close(self) -> None:
        if self._container is not None:
            self._mux(None)
            self._container.close()
