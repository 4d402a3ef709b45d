import numpy as np
import pytest

from affect.frame_names import frame_of, locate_frames, name_fault, video_of


@pytest.mark.parametrize(
    "name", ["video1/00001.jpg", "10-60-1280x720_right/02411.jpg", "a b/c/7.png", ".v/1.jpg", "v/7.face.jpg"]
)
def test_valid_names_have_no_fault(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("/etc/00001.jpg", "absolute"),
        ("~/00001.jpg", "absolute"),
        ("C:/00001.jpg", "absolute"),
        ("../00001.jpg", "inside"),
        ("video/../../00001.jpg", "inside"),
        ("video//00001.jpg", "inside"),
        ("./video/00001.jpg", "inside"),
        ("video\\00001.jpg", "backslash"),
        ("video/0\t1.jpg", "unprintable"),
        ("00001.jpg", "no video folder"),
        ("C:", "absolute"),
        ("7", "no video folder"),
        ("video/..", "inside"),
        ("video/first.jpg", "no frame number"),
        ("video/9999999999999999999.jpg", "more than 18 digits"),
        ("video/.jpg", "no frame number"),
        ("video/²2.jpg", "no frame number"),
    ],
)
def test_faults_are_described(name: str, reason: str) -> None:
    assert reason in (name_fault(name) or "")


def test_frames_are_located_by_video_and_number() -> None:
    video, frame = locate_frames(["b/00010.jpg", "a/00002.jpg", "b/00009.jpg"])
    np.testing.assert_array_equal(video, [0, 1, 0])
    np.testing.assert_array_equal(frame, [10, 2, 9])
    assert video_of("x/y/1.jpg") == "x/y"
    assert frame_of("x/y/00012.jpg") == 12
    assert frame_of("x/y/00012.face.jpg") == 12
    assert video.dtype == frame.dtype == np.int64
