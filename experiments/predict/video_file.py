"""An MP4 file that is written picture by picture."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from affect.storage.atomic_write import atomic_path
from affect.storage.write_errors import StorageError
from datamodules.media.frame import Frame

_TICKS: Final = Fraction(1, 60_000)
"""Unit of time stamps: fine enough for any rate, and as fine as MPEG-4 allows."""


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
