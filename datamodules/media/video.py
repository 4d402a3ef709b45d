"""A video file, decoded picture by picture with FFmpeg's libraries (PyAV)."""

import contextlib
import math
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from datamodules.images.decoding import MAX_PIXELS
from datamodules.images.orientation import turn_upright
from datamodules.media.frame import Frame

END_TOLERANCE: Final = 1.0
"""Seconds that the last picture of a complete file may lie before the end that the file states."""
MIN_SHARE: Final = 0.9
"""Share of the pictures that a file states which a complete one has at least: editing may hide some."""
_ORIENTATIONS: Final[dict[tuple[int, ...], int]] = {
    (1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8,
}  # fmt: skip
"""EXIF's number of each display matrix: the signs of its elements a, b, c and d."""


class UnreadableVideoError(UserError):
    """A video is missing, holds no picture, or cannot be decoded; the message names the file."""


class Video:
    """A video file.

    Pictures are turned upright by the file's display matrix, and widened where pixels are not square. Damaged packets
    are passed over.

    Args:
        path: The file.

    Attributes:
        moves: True.
        damage: Messages about damaged parts, and an end before the one that the file states; complete when `frames`
            has ended.
        rate: Pictures per second on average; None if the file does not tell.

    Raises:
        UnreadableVideoError: If the file is missing, no video, or without a stream of pictures.
    """

    moves = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage: list[str] = []
        with self._opened() as (_, stream, seconds):
            rate = stream.average_rate or stream.guessed_rate
            self.rate: Fraction | None = rate or None
            self._num_stated = stream.frames
            self._num_frames = stream.frames or (round(seconds * rate) if rate and seconds else None)

    @property
    def num_frames(self) -> int | None:
        """Number of pictures as the file states it, or as its length and rate suggest."""
        return self._num_frames

    def frames(self, start: int = 0, every: int = 1) -> Iterator[Frame]:
        """Yield pictures; those passed over are decoded too, since only counting gives exact numbers.

        Raises:
            UnreadableVideoError: If no picture can be decoded, or one is too large.
        """
        self.damage.clear()
        number, seconds = -1, 0.0
        with self._opened() as (container, stream, stated):
            begin = (container.start_time or 0) / av.time_base
            for number, picture in enumerate(self._decoded(container, stream)):
                time = math.nan if picture.time is None else round(picture.time - begin, 6) + 0.0  # not -0
                seconds = seconds if math.isnan(time) else time
                if number >= start and number % every == 0:
                    image = upright_image(picture, stream.sample_aspect_ratio, str(self.path))
                    yield Frame(self.path.name, number, number, time, image)
        if number < 0:
            reason = "; ".join(self.damage) or "there is none"
            raise UnreadableVideoError(f"{self.path}: no picture can be decoded ({reason})")
        is_short = stated is not None and seconds < stated - END_TOLERANCE - float(1 / self.rate if self.rate else 0)
        if is_short or number + 1 < MIN_SHARE * self._num_stated:
            self.damage.append(
                f"{self.path}: it ends after {number + 1} pictures and {seconds:.2f} s, before the end that it states "
                f"({self._num_frames} pictures); copy it again"
            )

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield what can be decoded, in order of display."""
        reasons: list[str] = []
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self.damage.append(f"{self.path}: reading breaks off ({error.strerror}); copy the file again")
                break
            if packet is None:
                break
            try:
                pictures = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                reasons.append(str(error.strerror))
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    reasons.append("incomplete picture")
                yield picture
        if reasons:
            self.damage.append(f"{self.path}: {len(reasons)} damaged pictures ({reasons[0]}); copy the file again")

    def _container(self) -> Any:
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise UnreadableVideoError(f"{self.path}: not a regular file")
        # As a file and nothing else: neither the name nor a playlist may lead to another protocol.
        return av.open(f"file:{self.path}", options={"protocol_whitelist": "file"})

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any, float | None]]:
        """Open the file; yield container, picture stream, and the length in seconds that it states."""
        try:
            container = self._container()
        except (av.error.FFmpegError, OSError) as error:
            raise UnreadableVideoError(f"{self.path}: cannot be read as a video ({error.strerror})") from error
        with container:
            stream = picture_stream(container, str(self.path))
            stream.thread_type = "AUTO"
            yield container, stream, stated_seconds(container, stream)


def stated_seconds(container: Any, stream: Any) -> float | None:
    """Return the length of a stream in seconds, or that of its file; None if neither is stated."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def picture_stream(container: Any, name: str) -> Any:
    """Return the first stream of moving pictures.

    Raises:
        UnreadableVideoError: If there is none, or its format has no decoder.
    """
    moving = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
    if not moving:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UnreadableVideoError(f"{name}: no pictures in it, only {kinds}")
    if moving[0].codec_context is None:
        raise UnreadableVideoError(f"{name}: its format has no decoder here; convert it, for instance to H.264")
    return moving[0]


def upright_image(picture: Any, pixel_shape: Fraction | None, name: str) -> NDArray[np.uint8]:
    """Convert a decoded picture to RGB (H, W, 3), upright and with square pixels.

    Args:
        picture: The picture.
        pixel_shape: Width of a pixel divided by its height; None or 0 where unknown.
        name: File, for error messages.

    Raises:
        UnreadableVideoError: If it has over `MAX_PIXELS` pixels, or its format cannot be converted.
    """
    width = max(1, round(picture.width * (pixel_shape or 1)))
    if width * picture.height > MAX_PIXELS:
        raise UnreadableVideoError(f"{name}: {width} x {picture.height} pixels; a picture may have {MAX_PIXELS:,}")
    try:
        image = picture.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, ValueError) as error:
        kind = picture.format.name
        raise UnreadableVideoError(f"{name}: pictures of format {kind} cannot be read ({error})") from error
    if width != picture.width:
        image = cv2.resize(image, (width, picture.height), interpolation=cv2.INTER_LINEAR)
    return turn_upright(image, orientation_of(picture))


def orientation_of(picture: Any) -> int:
    """Read a picture's display matrix as an EXIF orientation, 1 to 8; 1 without one, or if it is no quarter turn."""
    data = next((part for part in picture.side_data if part.type.name == "DISPLAYMATRIX"), None)
    if data is None or data.buffer_size < 36:
        return 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32)
    signs = np.sign(np.round(np.array([a, b, c, d]) / 65536)).astype(int).tolist()
    return _ORIENTATIONS.get(tuple(signs), 1)
