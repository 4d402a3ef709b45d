import numpy as np
import pytest

import affect.calibration.smoothing
from affect.calibration.smoothing import Smoothing, smooth


def reference(values: np.ndarray, video: np.ndarray, frame: np.ndarray, how: Smoothing) -> np.ndarray:
    """Plain loops over rows and neighbours, the rows of a frame averaged; without a limit on rows."""
    result = np.full(values.shape, np.nan)
    values = values.copy()
    for row in range(len(values)):
        same = (video == video[row]) & (frame == frame[row])
        for column in range(values.shape[1]):
            known = values[same, column][~np.isnan(values[same, column])]
            values[same, column] = known.mean() if len(known) else np.nan
    for row in range(len(values)):
        for column in range(values.shape[1]):
            total = weights = 0.0
            for other in np.unique(np.stack([video, frame]), axis=1, return_index=True)[1]:
                distance = int(frame[other]) - int(frame[row])
                near = video[other] == video[row] and abs(distance) <= how.window
                if near and not np.isnan(values[other, column]):
                    weight = np.exp(-(distance**2) / how.sigma) if how.kernel == "gaussian" else 1.0
                    total += weight * values[other, column]
                    weights += weight
            if weights:
                result[row, column] = total / weights
    return result


def random_rows(seed: int, size: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    frame = random.integers(0, 60, size)  # some frames twice, some missing
    return random.normal(size=(size, 3)), random.integers(0, 3, size) * 7, frame


@pytest.mark.parametrize("kernel", ["gaussian", "box"])
@pytest.mark.parametrize("window", [1, 5, 40, 500])
def test_agrees_with_loops(kernel: str, window: int) -> None:
    values, video, frame = random_rows(window)
    how = Smoothing(window, kernel, sigma=30.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(smooth(values, video, frame, how), reference(values, video, frame, how), atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_missing_values_take_no_part_and_are_filled() -> None:
    values, video, frame = random_rows(3)
    values[::4, 1] = np.nan
    values[video == 7] = np.nan
    how = Smoothing(6, sigma=20.0)
    found = smooth(values, video, frame, how)
    np.testing.assert_allclose(found, reference(values, video, frame, how), atol=1e-12)
    assert np.isnan(found[video == 7]).all(), "nothing to go by in the whole video"
    assert not np.isnan(found[video != 7]).any()


def test_pieces_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values, video, frame = random_rows(4)
    whole = smooth(values, video, frame, Smoothing(20))
    monkeypatch.setattr(affect.calibration.smoothing, "_PAIRS_AT_ONCE", 50)
    np.testing.assert_array_equal(smooth(values, video, frame, Smoothing(20)), whole)


def test_pieces_hold_each_row_once_and_a_bounded_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affect.calibration.smoothing, "_PAIRS_AT_ONCE", 50)
    sizes = np.random.default_rng(0).integers(1, 20, 200)
    pieces = affect.calibration.smoothing._chunks(sizes)
    assert np.concatenate([np.arange(200)[piece] for piece in pieces]).tolist() == list(range(200))
    assert max(sizes[piece].sum() for piece in pieces) < 50 + 20
    assert len(pieces) <= sizes.sum() / 50 + 1


def test_a_video_of_one_frame_is_a_video() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    found = smooth(values, np.array([0, 1, 1]), np.array([5, 5, 6]), Smoothing(9, "box"))
    np.testing.assert_array_equal(found, [[1], [3], [3]])
    np.testing.assert_array_equal(smooth(values[:1], np.array([0]), np.array([5]), Smoothing(9)), [[1]])


def test_constants_stay_constant() -> None:
    _, video, frame = random_rows(5)
    values = np.full((90, 12), 0.25, np.float32)
    found = smooth(values, video, frame, Smoothing(30))
    np.testing.assert_allclose(found, values, rtol=1e-6)
    assert found.dtype == np.float32


def test_nothing_crosses_videos_or_wide_gaps() -> None:
    frame = np.array([0, 1, 2, 103, 104, 2, 3])
    video = np.array([0, 0, 0, 0, 0, 1, 1])
    values = np.array([0.0, 0, 0, 1, 1, 5, 5])[:, None]
    np.testing.assert_array_equal(smooth(values, video, frame, Smoothing(100, "box")), values)


def test_an_image_that_is_listed_twice_counts_once() -> None:
    values = np.array([0.0, 3.0, 3.0, 3.0, 6.0, 30.0])[:, None]
    frame = np.array([1, 2, 2, 2, 3, 4])
    found = smooth(values, np.zeros(6, int), frame, Smoothing(10, "box", neighbours=1))
    np.testing.assert_allclose(found[:, 0], [1.5, 3, 3, 3, 13, 18])


def test_neighbours_limit_the_rows_on_each_side() -> None:
    values = np.arange(9.0)[:, None] ** 2
    video, frame = np.zeros(9, int), np.arange(9) * 5
    found = smooth(values, video, frame, Smoothing(1000, "box", neighbours=1))
    inner = (values[:-2] + values[1:-1] + values[2:]) / 3
    np.testing.assert_allclose(found[1:-1], inner)
    np.testing.assert_allclose(found[[0, -1], 0], [0.5, (49 + 64) / 2])


def test_the_order_of_rows_does_not_matter() -> None:
    values, video, frame = random_rows(6)
    frame = np.arange(90)
    shuffled = np.random.default_rng(0).permutation(90)
    found = smooth(values[shuffled], video[shuffled], frame[shuffled], Smoothing(9))
    np.testing.assert_array_equal(found, smooth(values, video, frame, Smoothing(9))[shuffled])


def test_no_window_and_no_rows_change_nothing() -> None:
    values, video, frame = random_rows(7)
    np.testing.assert_array_equal(smooth(values, video, frame, Smoothing(0)), values)
    assert smooth(values[:0], video[:0], frame[:0], Smoothing(5)).shape == (0, 3)


def test_huge_frame_numbers_cost_nothing() -> None:
    found = smooth(np.ones((2, 1)), np.zeros(2, int), np.array([0, 2**40]), Smoothing(5))
    np.testing.assert_array_equal(found, 1)


def test_the_smallest_settings_are_allowed() -> None:
    values, video, frame = random_rows(9)
    frame = np.arange(90)  # each frame once, so that a frame without neighbours stays as it is
    for how in (Smoothing(5, "box", neighbours=0), Smoothing(1, sigma=1e-3)):
        np.testing.assert_allclose(smooth(values, video, frame, how), values)


@pytest.mark.parametrize(
    "wrong", [{"window": -1}, {"sigma": 0.0}, {"sigma": np.inf}, {"kernel": "boxx"}, {"neighbours": -1}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        Smoothing(**wrong)


def test_wrong_shapes_are_refused() -> None:
    values, video, frame = random_rows(8)
    with pytest.raises(ValueError, match="shapes do not fit"):
        smooth(values, video[1:], frame, Smoothing(3))
    with pytest.raises(ValueError, match="shapes do not fit"):
        smooth(values, video, frame[1:], Smoothing(3))
    with pytest.raises(ValueError, match="shapes do not fit"):
        smooth(values[:, 0], video, frame, Smoothing(3))
