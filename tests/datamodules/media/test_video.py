"""Videos written by FFmpeg, read back: numbers, times, orientation, formats, and damage."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.media.camera import Camera
from datamodules.media.video import UnreadableVideoError, Video

TICKS = Fraction(1, 1000)


def write_video(
    path: Path, frames: Sequence[np.ndarray], encoder: str = "ffv1", pixels: str = "bgr0",
    times: Sequence[int] | None = None, rate: int = 10,
    matrix: Sequence[int] | None = None, pixel_shape: Fraction | None = None,
) -> Path:  # fmt: skip
    """Write RGB frames, at times in milliseconds if given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if times:
            stream.codec_context.time_base = TICKS
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio = pixel_shape
        if matrix:
            stream.set_display_matrix(matrix)
        for number, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times:
                picture.pts, picture.time_base = times[number], TICKS
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Smooth pictures, none symmetric, no two alike."""
    y, x = np.mgrid[:48, :64]
    return [np.stack([4 * x, 5 * y, x + y + 8 * number], -1).clip(0, 255).astype(np.uint8) for number in range(12)]


def test_pictures_come_in_order_with_numbers_and_times(tmp_path: Path, frames: list[np.ndarray]) -> None:
    times = [0, 40, 300, 310, 900, 1000, 1001, 2000, 2400, 2500, 2600, 2700]
    video = Video(write_video(tmp_path / "a.mkv", frames, times=times))
    found = list(video.frames())
    assert [frame.number for frame in found] == [frame.position for frame in found] == list(range(12))
    assert [frame.seconds for frame in found] == pytest.approx([time / 1000 for time in times])
    assert {frame.file for frame in found} == {"a.mkv"}
    for frame, expected in zip(found, frames, strict=True):
        assert np.array_equal(frame.image, expected)
    assert video.damage == []


@pytest.mark.parametrize(("start", "every", "numbers"), [(5, 1, range(5, 12)), (0, 5, (0, 5, 10)), (6, 5, (10,))])
def test_pictures_are_passed_over(
    tmp_path: Path, frames: list[np.ndarray], start: int, every: int, numbers: Sequence[int]
) -> None:
    video = Video(write_video(tmp_path / "a.mkv", frames))
    found = list(video.frames(start, every))
    assert [frame.number for frame in found] == list(numbers)
    assert all(np.array_equal(frame.image, frames[frame.number]) for frame in found)


@pytest.mark.parametrize("matrix", [
    (1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0),
    (0, -1, 1, 0),
])  # fmt: skip
def test_the_display_matrix_is_applied(
    tmp_path: Path, frames: list[np.ndarray], matrix: tuple[int, int, int, int]
) -> None:
    a, b, c, d = matrix
    path = write_video(
        tmp_path / "a.mp4", frames, "libx264", "yuv444p",
        matrix=[a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30],
    )  # fmt: skip
    # ISO 14496-12: column p and row q are shown at column a p + c q and row b p + d q, moved to begin at 0.
    q, p = np.mgrid[:48, :64]
    column, row = a * p + c * q, b * p + d * q
    column, row = column - column.min(), row - row.min()
    expected = np.empty((row.max() + 1, column.max() + 1, 3), np.uint8)
    expected[row, column] = frames[0]
    found = next(Video(path).frames()).image
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 6


def test_pixels_that_are_not_square_are_widened(tmp_path: Path, frames: list[np.ndarray]) -> None:
    narrow = [image[:, ::2] for image in frames]
    path = write_video(tmp_path / "a.mp4", narrow, "libx264", "yuv444p", pixel_shape=Fraction(2))
    found = next(Video(path).frames()).image
    assert found.shape == (48, 64, 3)
    assert np.abs(found.astype(int) - frames[0]).mean() < 7


@pytest.mark.parametrize(("encoder", "pixels"), [
    ("ffv1", "gray"), ("ffv1", "gray16le"), ("ffv1", "yuv420p10le"), ("ffv1", "bgra"), ("mpeg4", "yuv420p"),
    ("mjpeg", "yuvj444p"), ("ffv1", "yuv422p"),
])  # fmt: skip
def test_formats_of_pixels(tmp_path: Path, frames: list[np.ndarray], encoder: str, pixels: str) -> None:
    found = next(Video(write_video(tmp_path / "a.mkv", frames, encoder, pixels)).frames()).image
    expected = frames[0].astype(float)
    if pixels.startswith("gray"):
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).mean() < 12


def test_a_cut_video_gives_what_is_there_and_says_so(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "a.mkv", frames * 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    video = Video(path)
    found = list(video.frames())
    assert 3 < len(found) < 30
    assert np.array_equal(found[-1].image, frames[found[-1].number % 12])
    (message,) = video.damage
    assert f"it ends after {len(found)} pictures" in message


def test_a_damaged_part_is_passed_over_and_reported(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "a.avi", frames, "mpeg4", "yuv420p", rate=25)
    content = bytearray(path.read_bytes())
    middle = content.index(b"movi") + (len(content) - content.index(b"movi")) // 2
    content[middle : middle + 60] = bytes(value ^ 0xA5 for value in content[middle : middle + 60])
    path.write_bytes(bytes(content))
    video = Video(path)
    assert len(list(video.frames())) >= 9
    assert video.damage
    assert all(str(path) in message for message in video.damage)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("name", "reason"), [
    ("missing.mp4", "No such file"), ("empty.mp4", "cannot be read as a video"), ("text.mp4", "cannot be read"),
    ("noise.mp4", "cannot be read as a video"), ("sound.m4a", "no pictures in it, only audio"),
    ("pipe.mp4", "not a regular file"), ("folder.mp4", "not a regular file"), ("list.m3u8", "cannot be read"),
    ("list.ffconcat", "cannot be read"),
])  # fmt: skip
def test_what_is_no_video_is_refused_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    if name == "pipe.mp4":
        os.mkfifo(path)
    elif name == "folder.mp4":
        path.mkdir()
    elif name == "sound.m4a":
        write_sound(path)
    elif name != "missing.mp4":
        content = {
            "empty.mp4": b"", "text.mp4": b"words\n" * 50, "noise.mp4": np.random.default_rng(0).bytes(20_000),
            "list.m3u8": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
            "list.ffconcat": b"ffconcat version 1.0\nfile 'http://127.0.0.1:9/a.ts'\n",
        }[name]  # fmt: skip
        path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match=reason) as caught:
        list(Video(path).frames())
    assert str(path) in str(caught.value)


def test_a_video_without_pictures_is_refused(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "a.avi", frames, "mpeg4", "yuv420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(UnreadableVideoError, match="no picture can be decoded"):
        list(Video(path).frames())


def test_pictures_that_are_too_large_are_refused(
    tmp_path: Path, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.media.video.MAX_PIXELS", 1000)
    with pytest.raises(UnreadableVideoError, match="64 x 48 pixels"):
        next(Video(write_video(tmp_path / "a.mkv", frames)).frames())


def test_a_name_is_a_file_and_no_protocol(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "a.mkv", frames)
    odd = path.rename(tmp_path / "concat:x|y?z=%d.mkv")
    assert len(list(Video(odd).frames())) == 12


def test_a_camera_has_no_end_known_and_cannot_go_on(tmp_path: Path, frames: list[np.ndarray]) -> None:
    camera = Camera(str(write_video(tmp_path / "a.mkv", frames)), None)
    assert camera.num_frames is None
    assert [frame.number for frame in camera.frames(every=4)] == [0, 4, 8]
    assert list(camera.frames(start=5)) == []
    with pytest.raises(UnreadableVideoError, match="/dev/video987"):
        Camera("/dev/video987")
