import contextlib
import errno
import io
import os
import socket
import struct
import tempfile
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.images import decoding as image_decoding
from datamodules.images.decoding import (
    InaccessibleImageError,
    UnreadableImageError,
    is_deep,
    read_header,
    read_image,
)
from datamodules.images.orientation import turn_back, turn_points_upright, turn_upright

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin", "ignore::Warning:PIL.Image")


def pixels(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image: Image.Image, suffix: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, Image.registered_extensions()[suffix], **options)
    return stream.getvalue()


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".gif", ".webp", ".jp2", ".avif", ".jpg", ".jfif"])
def test_every_format_is_read_as_rgb_independent_of_the_suffix(tmp_path: Path, suffix: str):
    flat = np.full((24, 32, 3), (200, 100, 40), np.uint8)
    flat[:, 16:] = (20, 60, 220)
    for name in (f"a{suffix}", f"a{suffix.upper()}", "a.jpg", "a.png"):
        (tmp_path / name).write_bytes(encode(Image.fromarray(flat), suffix))
        found = read_image(tmp_path / name)
        assert found.shape == (24, 32, 3)
        assert np.abs(found.astype(int) - flat)[:, [4, 27]].max() <= 6
        header = read_header(tmp_path / name)
        assert (header.width, header.height, header.orientation) == (32, 24, 1)
        assert not is_deep(tmp_path / name)


def test_lossless_pixels_are_exact(tmp_path: Path):
    for suffix in (".png", ".bmp", ".tif", ".ppm"):
        assert np.array_equal(read_image(write(tmp_path / f"a{suffix}", pixels())), pixels())


def test_jpegs_are_decoded_as_pillow_does(tmp_path: Path):
    for mode in ("RGB", "L", "CMYK"):
        (tmp_path / "a.jpg").write_bytes(encode(Image.fromarray(pixels()).convert(mode), ".jpg"))
        expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pixels_stand_upright_and_boxes_refer_to_those_stored(tmp_path: Path, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    options = {} if suffix == ".jpg" else {"lossless": True}
    path.write_bytes(encode(Image.fromarray(pixels()), suffix, **options, exif=exif))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    found = read_image(path)
    assert np.array_equal(found, upright)
    header = read_header(path)
    assert (header.width, header.height, header.orientation) == (32, 24, orientation)
    part = read_image(path, (4, 2, 10, 6))
    stored = encode(Image.fromarray(pixels()), suffix, **options)
    plain = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))[2:8, 4:14]
    assert np.array_equal(part, np.asarray(ImageOps.exif_transpose(with_orientation(plain, orientation))))


def with_orientation(array: np.ndarray, orientation: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(array))
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_turn_with_their_pixels(orientation: int):
    image = np.zeros((40, 60, 1), np.uint8)
    image[5, 50] = 255
    stored = np.array([[(50.5) / 60 * 2 - 1, (5.5) / 40 * 2 - 1]], np.float32)
    upright = turn_upright(image, orientation)
    row, column = np.argwhere(upright[..., 0])[0]
    height, width = upright.shape[:2]
    expected = [[(column + 0.5) / width * 2 - 1, (row + 0.5) / height * 2 - 1]]
    np.testing.assert_allclose(turn_points_upright(stored, orientation), expected, atol=1e-6)
    assert np.array_equal(turn_back(upright, orientation), image)


MAGENTA = (255, 0, 255)


@pytest.mark.parametrize(
    "kind", ["RGBA.png", "RGBA.webp", "RGBA.tif", "LA.png", "P.png", "P.gif", "key.png", "grey16.png"]
)
def test_transparent_pixels_show_white(tmp_path: Path, kind: str):
    mode, suffix = kind.split(".")
    shown = np.full((8, 8, 4), (*MAGENTA, 0), np.uint8)
    shown[:4] = (10, 10, 10, 255)
    image, options = Image.fromarray(shown), {"lossless": True} if suffix == "webp" else {}
    if mode == "LA":
        image = image.convert("LA")
    elif mode == "P":
        image = Image.fromarray(np.repeat([0] * 4 + [1] * 4, 8).reshape(8, 8).astype(np.uint8), "P")
        image.putpalette([10, 10, 10, *MAGENTA])
        options = {"transparency": 1}
    elif mode == "grey16":
        levels = np.full((8, 8), 5 << 8, np.uint16)
        levels[:4] = 10 << 8
        image, options = Image.fromarray(levels), {"transparency": 5 << 8}
    elif mode == "key":
        image, options = image.convert("RGB"), {"transparency": MAGENTA}
    (tmp_path / "a").write_bytes(encode(image, f".{suffix}", **options))
    found = read_image(tmp_path / "a")
    assert (found[4:] == 255).all()
    assert (found[:4] == 10).all()


def test_half_transparent_pixels_are_blended_with_white(tmp_path: Path):
    shown = np.full((4, 4, 4), (100, 0, 200, 128), np.uint8)
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(shown), ".png"))
    expected = np.array([100, 0, 200]) * 128 / 255 + 127
    assert np.abs(read_image(tmp_path / "a.png") - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_grey_of_16_bits_becomes_its_upper_8(tmp_path: Path, suffix: str):
    deep = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128) * 5
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), deep)
    found = read_image(tmp_path / f"a{suffix}").astype(int)
    assert np.abs(found - (deep >> 8)[..., None]).max() <= (1 if suffix == ".jp2" else 0)
    assert np.ptp(found, axis=2).max() == 0
    assert is_deep(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_colours_of_16_bits_become_their_upper_8(tmp_path: Path, suffix: str):
    deep = np.random.default_rng(0).integers(0, 1 << 16, (24, 32, 3)).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), deep[..., ::-1])
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - (deep >> 8)).max() <= 1
    assert is_deep(tmp_path / f"a{suffix}")


def test_grey_two_level_and_palette_images_have_three_channels(tmp_path: Path):
    for mode in ("L", "1", "P"):
        image = Image.fromarray(pixels()).convert(mode)
        (tmp_path / "a.png").write_bytes(encode(image, ".png"))
        assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_pixels_without_a_defined_white_are_refused(tmp_path: Path):
    for kind in (np.float32, np.int32):
        (tmp_path / "a.tif").write_bytes(encode(Image.fromarray(np.ones((4, 4), kind)), ".tif"))
        with pytest.raises(UnreadableImageError, match=r"a\.tif: .*no defined white"):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".gif", ".jp2", ".avif", ".ppm"])
def test_a_truncated_image_is_named_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture, suffix: str, share: float
):
    options = {".jpg": {"progressive": True}, ".tif": {"compression": "tiff_lzw"}}.get(suffix, {})
    content = encode(Image.fromarray(pixels(96, 128)), suffix, **options)
    (tmp_path / "a").write_bytes(content[: int(len(content) * share)])
    with warnings.catch_warnings(record=True), pytest.raises(UnreadableImageError, match=r"a: "):
        read_image(tmp_path / "a")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".gif", ".jp2", ".ppm"])
def test_damaged_images_give_pixels_or_an_error_that_names_them(
    tmp_path: Path, capfd: pytest.CaptureFixture, suffix: str
):
    generator = np.random.default_rng(0)
    options = {".tif": {"compression": "tiff_adobe_deflate"}}.get(suffix, {})
    content = encode(Image.fromarray(pixels()), suffix, **options)
    for _ in range(60):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), 4):
            damaged[position] = generator.integers(256)
        (tmp_path / "a").write_bytes(damaged)
        with (
            warnings.catch_warnings(record=True) as told,
            contextlib.suppress(UnreadableImageError),
        ):
            assert read_image(tmp_path / "a").shape[2] == 3
        assert all(str(tmp_path / "a") in str(each.message) for each in told if each.category is UserWarning)
    assert capfd.readouterr().err == ""


def test_what_libjpeg_prints_becomes_a_warning_with_the_files_name(tmp_path: Path, capfd: pytest.CaptureFixture):
    content = encode(Image.fromarray(pixels(96, 96)), ".jpg")
    (tmp_path / "a.jpg").write_bytes(content[:-2] + b"\x12\x34\x56\x78" * 20 + content[-2:])
    with pytest.warns(UserWarning, match=r"a\.jpg: Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9$"):
        assert read_image(tmp_path / "a.jpg").shape == (96, 96, 3)
    assert capfd.readouterr().err == ""
    os.write(2, b"the stream is as it was\n")
    assert capfd.readouterr().err == "the stream is as it was\n"


def test_a_jpeg_with_its_scan_cut_short_before_the_end_marker_is_truncated(tmp_path: Path):
    content = encode(Image.fromarray(pixels(96, 96)), ".jpg")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3] + b"\xff\xd9")
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: truncated JPEG"):
        read_image(tmp_path / "a.jpg")


def test_data_after_a_jpeg_do_not_matter(tmp_path: Path):
    content = encode(Image.fromarray(pixels()), ".jpg")
    (tmp_path / "a.jpg").write_bytes(content + b"appended\xff\xda and more")
    assert read_image(tmp_path / "a.jpg").shape == (24, 32, 3)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"  # Pillow would run Ghostscript


@pytest.mark.parametrize("content", [b"GIF?", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"<html></html>", POSTSCRIPT])
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: not an image that (Pillow|OpenCV) can decode"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: not an image"):
        read_header(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_image, read_header, is_deep])
def test_an_empty_file_is_named(tmp_path: Path, read: Any):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: the file is empty"):
        read(tmp_path / "a.jpg")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_image, read_header, is_deep])
def test_only_regular_files_are_opened(tmp_path: Path, read: Any):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s.jpg")
        for path in (tmp_path / "pipe.jpg", tmp_path / "link.jpg", f"{short}/s.jpg", "/dev/zero"):
            with pytest.raises(UnreadableImageError, match=f"{path}: not a regular file"):
                read(path)
    with pytest.raises(UnreadableImageError, match="cannot be a path: embedded null"):
        read(tmp_path / "a\0.jpg")
    with pytest.raises(UnreadableImageError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: No such file"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_image, read_header, is_deep])
def test_an_image_that_the_system_refuses_is_inaccessible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any):
    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error", str(path))

    (tmp_path / "a.jpg").write_bytes(b"?")
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InaccessibleImageError, match=r"a\.jpg: Input/output error"):
        read(tmp_path / "a.jpg")


def png(width: int, height: int, rows: int = 0) -> bytes:
    """A PNG of black pixels of one bit, of which only some rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    data = b"".join([packer.compress(row) for _ in range(rows)]) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    content = encode(Image.fromarray(pixels()), ".jpg")
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


TOO_LARGE = {
    "png of 400 megapixels": png(20_000, 20_000, 20_000),
    "png of 1.6 gigapixels": png(40_000, 40_000),
    "png of the largest sides": png(2**31 - 1, 2**31 - 1),
    "png just over the limit": png(10_000, 10_001),
    "jpeg of the largest sides": jpeg(65_535, 65_535),
    "jpeg just over the limit": jpeg(10_000, 10_001),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    "ppm": b"P6 40000 40000 255\n",
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, kind: str):
    path = tmp_path / "a.png"
    path.write_bytes(TOO_LARGE[kind])
    for read in (read_image, read_header, is_deep):
        tracemalloc.start()
        with pytest.raises(UnreadableImageError, match=r"a\.png: .*an image may have 100,000,000|a\.png: not an image"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()


def test_as_many_pixels_as_allowed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_decoding, "MAX_PIXELS", 24 * 32)
    for suffix in (".png", ".jpg"):
        assert read_image(write(tmp_path / f"a{suffix}", pixels())).shape == (24, 32, 3)
        write(tmp_path / f"a{suffix}", pixels(25, 32))
        with pytest.raises(UnreadableImageError, match="32 x 25 pixels; an image may have 768"):
            read_image(tmp_path / f"a{suffix}")


def test_a_huge_file_is_not_read(tmp_path: Path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(UnreadableImageError, match="42,949,672,960 bytes; an image may have 800,000,000"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "box",
    [(4, 6, 10, 12), (0, 0, 32, 24), (-5, -3, 20, 10), (25, 20, 50, 50), (31, 23, 1, 1), (-5, -5, 100, 100)],
)
def test_the_crop_is_the_plain_slice_of_the_part_inside(tmp_path: Path, box: tuple[int, int, int, int]):
    left, top, width, height = box
    rows = [row for row in range(top, top + height) if 0 <= row < 24]
    columns = [column for column in range(left, left + width) if 0 <= column < 32]
    found = read_image(write(tmp_path / "a.png", pixels()), box)
    assert np.array_equal(found, pixels()[np.ix_(rows, columns)])
    assert found.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("box", [(32, 0, 5, 5), (0, 24, 5, 5), (-9, 0, 9, 5), (4, 4, 0, 5)])
def test_a_box_outside_is_an_error(tmp_path: Path, box: tuple[int, int, int, int]):
    with pytest.raises(UnreadableImageError, match=r"a\.png: face box .* is outside the image of 32 x 24"):
        read_image(write(tmp_path / "a.png", pixels()), box)


def test_a_png_whose_pixel_data_differ_from_their_checksum_is_refused(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = cv2.imencode(".png", image)[1].tobytes()
    path = tmp_path / "face.png"
    path.write_bytes(content + b"appended")
    np.testing.assert_array_equal(read_image(path), image[..., ::-1])
    flipped = content[:900] + bytes([content[900] ^ 1]) + content[901:]
    for damaged in (flipped, content[:-12], content[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableImageError, match=r"face\.png"):
            read_image(path)
