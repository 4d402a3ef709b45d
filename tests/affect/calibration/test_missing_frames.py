import numpy as np

from affect.calibration.missing_frames import fill_absent


def test_the_previous_frame_of_the_same_video_stands_in() -> None:
    video = np.array([5, 5, 5, 2, 2, 9, 9, 2])
    frame = np.array([30, 10, 20, 1, 2, 7, 8, 0])
    values = np.array([np.nan, 1, 2, np.nan, 4, np.nan, np.nan, np.nan])[:, None].repeat(2, 1)
    filled = fill_absent(values, video, frame, np.array([-1.0, -2.0]))
    # Video 2 begins with absent frames: its first present one stands in. Video 9 has none.
    np.testing.assert_array_equal(filled[:, 0], [2, 1, 2, 4, 4, -1, -1, 4])
    np.testing.assert_array_equal(filled[5:7, 1], -2)


def test_present_rows_stay_and_nothing_crosses_videos() -> None:
    random = np.random.default_rng(0)
    video, frame = random.integers(0, 6, 200), random.permutation(200)
    values = np.stack([video, frame], 1).astype(float)
    absent = random.random(200) < 0.6
    damaged = np.where(absent[:, None], np.nan, values)
    filled = fill_absent(damaged, video, frame, np.zeros(2))
    np.testing.assert_array_equal(filled[~absent], values[~absent])
    np.testing.assert_array_equal(filled[:, 0], video)
    for row in np.flatnonzero(absent):
        before = values[(video == video[row]) & ~absent & (frame <= frame[row]), 1]
        first = values[(video == video[row]) & ~absent, 1].min()
        assert filled[row, 1] == (before.max() if len(before) else first)


def test_no_rows() -> None:
    empty = np.empty(0, np.int64)
    assert fill_absent(np.empty((0, 3)), empty, empty, np.zeros(3)).shape == (0, 3)


def test_the_type_stays() -> None:
    values = np.array([[np.nan, np.nan], [1, 2]], np.float32)
    filled = fill_absent(values, np.array([0, 1]), np.array([1, 1]), np.array([0.5, 0.5]))
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled, [[0.5, 0.5], [1, 2]])
