"""The structure of a JPEG file, read from its markers without decoding (ITU-T T.81, annex B)."""

import re
from dataclasses import dataclass
from typing import Final

from datamodules.images.orientation import parse_orientation

SIGNATURE: Final = b"\xff\xd8\xff"
# A marker that begins a segment, or the end of the image. Stuffed zeros and restart markers within a scan are neither.
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_END: Final = 0xD9
_APP1: Final = 0xE1
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class TruncatedJpegError(ValueError):
    """The file ends before the end marker of its image."""


@dataclass(frozen=True)
class JpegHeader:
    """Content of the markers.

    Attributes:
        width: Columns as stored; 0 if there is no frame header.
        height: Rows as stored.
        orientation: EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    orientation: int


def inspect_jpeg(content: bytes) -> JpegHeader:
    """Read the segments up to the end of the image; data appended after it are ignored.

    Thumbnails are inside segments and are skipped with them.

    Raises:
        TruncatedJpegError: If the end is not reached.
    """
    position, width, height, orientation = 2, 0, 0, 1
    while match := _MARKER.search(content, position):
        marker, position = content[match.start() + 1], match.end()
        if marker == _END:
            return JpegHeader(width, height, orientation)
        length = int.from_bytes(content[position : position + 2], "big")
        if marker in _FRAMES and not width:
            height = int.from_bytes(content[position + 3 : position + 5], "big")
            width = int.from_bytes(content[position + 5 : position + 7], "big")
        elif marker == _APP1 and content[position + 2 : position + 8] == b"Exif\0\0":
            orientation = parse_orientation(content[position + 2 : position + length])
        position += max(length, 2)
    raise TruncatedJpegError
