import io

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.images.jpeg_header import JpegHeader, TruncatedJpegError, inspect_jpeg

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


def picture(height: int = 60, width: int = 90) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def encode(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG within the EXIF data, with start, scan and end markers of its own."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0" + encode(picture(8, 8))
    return encode(picture(), exif=exif)


KINDS = {
    "baseline": encode(picture()),
    "progressive": encode(picture(), progressive=True),
    "grey": encode(picture().convert("L")),
    "cmyk": encode(picture().convert("CMYK")),
    "restart markers": encode(picture(), restart_marker_blocks=2),
    "comment that looks like markers": encode(picture(), comment=b"\xff\xda\xff\xd9\xff\xd8"),
    "colour profile": encode(picture(), icc_profile=bytes(range(256)) * 300),
    "thumbnail": with_thumbnail(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_pillows(kind: str):
    header = inspect_jpeg(KINDS[kind])
    assert (header.width, header.height) == Image.open(io.BytesIO(KINDS[kind])).size == (90, 60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_anywhere_before_its_last_byte_is_truncated(kind: str):
    whole = KINDS[kind]
    for end in (*range(3, min(len(whole), 700)), *range(700, len(whole), 97), len(whole) - 1):
        with pytest.raises(TruncatedJpegError):
            inspect_jpeg(whole[:end])


@pytest.mark.parametrize("appended", [b"\xff\xda", b"\0" * 99, b"\xff\xd8\xff\xda", b"\xff", KINDS["progressive"][:-9]])
@pytest.mark.parametrize("kind", KINDS)
def test_appended_data_are_not_looked_at(kind: str, appended: bytes):
    assert inspect_jpeg(KINDS[kind] + appended) == inspect_jpeg(KINDS[kind])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_pillows(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert inspect_jpeg(encode(picture(), exif=exif)) == JpegHeader(90, 60, orientation)


@pytest.mark.parametrize("value", [0, 9, 77, None])
def test_other_orientations_are_upright(value: object):
    exif = Image.Exif()
    if value is not None:
        exif[0x0112] = value
    assert inspect_jpeg(encode(picture(), exif=exif)).orientation == 1


@pytest.mark.parametrize(
    "exif", [b"", b"MM\0*", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03", b"junk" * 9]
)
def test_damaged_exif_data_count_as_none(exif: bytes):
    assert inspect_jpeg(encode(picture(), exif=b"Exif\0\0" + exif)) == JpegHeader(90, 60, 1)


def test_every_byte_may_be_damaged():
    for kind in ("progressive", "thumbnail"):
        whole = KINDS[kind]
        for position in range(3, 400):
            damaged = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
            try:
                inspect_jpeg(damaged)
            except TruncatedJpegError:
                continue


@pytest.mark.timeout(10)
def test_a_file_of_fill_or_restart_markers_takes_linear_time():
    for filler in (b"\xff", b"\xff\xd0", b"\xff\0", b"\xff\xd8"):
        with pytest.raises(TruncatedJpegError):
            inspect_jpeg(b"\xff\xd8\xff" + filler * 2_000_000)
