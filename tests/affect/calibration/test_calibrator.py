from pathlib import Path

import numpy as np
import pytest
import torch

from affect.calibration.calibrator import Calibrator, cross_fit_predictions, fit_calibrator
from affect.calibration.cross_fitting import group_folds
from affect.calibration.expression_bias import apply_log_bias, fit_log_bias
from affect.calibration.smoothing import Smoothing, smooth
from affect.calibration.thresholds import GRID, tune_thresholds
from affect.errors import InvalidFileError
from affect.mtl_score import multi_task_score

Arrays = dict[str, np.ndarray]


def random_set(seed: int, informative: bool, size: int = 900) -> tuple[Arrays, Arrays, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = {
        "valence_arousal": random.uniform(-1, 1, (size, 2)).astype(np.float32),
        "expression": random.integers(-1, 8, size),
        "action_units": (random.random((size, 12)) < 0.2).astype(np.float32),
    }
    expression = random.dirichlet(np.geomspace(4, 0.4, 8), size)
    units = random.random((size, 12)) * 0.5
    if informative:
        expression += 0.5 * np.eye(8)[target["expression"]]
        units += 0.2 * target["action_units"]
    preds = {
        "valence_arousal": (target["valence_arousal"] + random.normal(size=(size, 2))).astype(np.float32),
        "expression": (expression / expression.sum(1, keepdims=True)).astype(np.float32),
        "action_units": units.astype(np.float32),
    }
    return preds, target, np.repeat(np.arange(30), size // 30), np.tile(np.arange(size // 30), 30)


def score(preds: Arrays, target: Arrays, thresholds: tuple[float, ...] | None = None) -> dict[str, float]:
    return multi_task_score(
        {task: torch.from_numpy(values) for task, values in preds.items()},
        {task: torch.from_numpy(values) for task, values in target.items()},
        thresholds,
    )


def test_apply_smooths_then_biases() -> None:
    preds, _, video, frame = random_set(0, True)
    bias = np.linspace(-1, 1, 8)
    how = Smoothing(3, sigma=9.0)
    treated = Calibrator({"expression": how}, tuple(bias.tolist())).apply(preds, video, frame)
    expected = apply_log_bias(smooth(preds["expression"], video, frame, how), bias)
    np.testing.assert_array_equal(treated["expression"], expected)
    np.testing.assert_array_equal(treated["action_units"], preds["action_units"])


@pytest.mark.parametrize("window", [0, 5])
def test_a_row_without_image_takes_no_part_and_gets_what_the_frame_before_gets(window: int) -> None:
    video, frame = np.array([0, 0, 0, 0, 1]), np.array([1, 2, 3, 4, 1])
    values = np.array([[0.0], [np.nan], [1.0], [1.0], [np.nan]], np.float32).repeat(12, 1)
    preds = {"action_units": values, "expression": values[:, :8], "valence_arousal": values[:, :2]}
    how = Smoothing(window, "box")
    treated = Calibrator(dict.fromkeys(preds, how)).apply(preds, video, frame)
    present = [0, 2, 3]
    alone = smooth(values[present], video[present], frame[present], how)
    for task, width in (("action_units", 12), ("expression", 8), ("valence_arousal", 2)):
        np.testing.assert_allclose(treated[task][present], alone[:, :width])
        np.testing.assert_allclose(treated[task][1], alone[0, :width])
    assert treated["expression"][4].argmax() == 0, "a video of which nothing is known: Neutral"
    assert not treated["valence_arousal"][4].any()
    assert np.isnan(values[1]).all(), "the input stays"


def test_decisions_follow_the_metric() -> None:
    preds, target, *_ = random_set(1, True)
    preds["action_units"] = preds["action_units"].round(1)
    calibrator = fit_calibrator(preds, target, {})
    np.testing.assert_array_equal(calibrator.thresholds, tune_thresholds(preds["action_units"], target["action_units"]))
    decided = {**preds, "action_units": calibrator.decide(preds["action_units"])}
    assert score(decided, target) == score(preds, target, calibrator.thresholds)
    assert np.isnan(calibrator.decide(np.full((1, 12), np.nan))).all()
    assert calibrator.decide(preds["action_units"]).dtype == np.float32


def test_fitted_values_gain_in_sample() -> None:
    preds, target, video, frame = random_set(2, True)
    calibrator = fit_calibrator(preds, target, {})
    after = score(calibrator.apply(preds, video, frame), target, calibrator.thresholds)
    before = score(preds, target)
    assert after["expression_f1"] > before["expression_f1"]
    assert after["au_f1"] > before["au_f1"]
    assert after["va_ccc"] == before["va_ccc"]


def test_cross_fitting_shows_that_noise_cannot_be_calibrated() -> None:
    preds, target, video, frame = random_set(3, False)
    calibrator = fit_calibrator(preds, target, {}, grid=None)
    in_sample = score(calibrator.apply(preds, video, frame), target, calibrator.thresholds)
    honest = score(cross_fit_predictions(preds, target, video, grid=None), target)
    assert honest["expression_f1"] < in_sample["expression_f1"]
    assert honest["au_f1"] < in_sample["au_f1"]
    assert honest["va_ccc"] == in_sample["va_ccc"]


@pytest.mark.parametrize("grid", [GRID, None])
def test_a_video_is_judged_by_numbers_of_the_other_videos_alone(grid: np.ndarray | None) -> None:
    """Two videos of opposite habits: each gets the other's threshold and bias, which are wrong for it."""
    rows = np.random.default_rng(0).permutation(80)  # of both videos in no order
    video = np.tile([0, 1], 40)[rows]
    units = np.tile(np.repeat([[0.05], [0.35], [0.65], [0.95]], 2, 0), (10, 12))[rows]
    edge = np.where(video == 0, 0.5, 0.8)[:, None]  # active from .65 in the first, from .95 in the second
    # Expressions: the first video's Neutral rows look like Anger, the second's Anger rows like Neutral.
    expression = np.full((80, 8), 1e-6)
    expression[:, :2] = np.where(video[:, None] == 0, [0.4, 0.6], [0.6, 0.4])
    preds = {
        "valence_arousal": np.zeros((80, 2)), "expression": expression, "action_units": units,
    }  # fmt: skip
    target = {
        "valence_arousal": np.zeros((80, 2)), "expression": np.where(video == 0, 0, 1),
        "action_units": (units > edge).astype(float),
    }  # fmt: skip
    treated = cross_fit_predictions(preds, target, video, num_folds=2, grid=grid)
    other = np.where(video == 0, 0.8, 0.5)[:, None]
    np.testing.assert_array_equal(treated["action_units"], units > other)
    # The first video is taken for what the second teaches, Anger, and the other way round.
    np.testing.assert_array_equal(treated["expression"].argmax(1), np.where(video == 0, 1, 0))
    np.testing.assert_array_equal(treated["valence_arousal"], preds["valence_arousal"])


@pytest.mark.parametrize("options", [{}, {"num_folds": 3, "grid": None}, {"grid": np.array([0.2, 0.31, 0.4])}])
def test_each_fold_gets_bias_and_thresholds_of_the_other_folds(options: dict) -> None:
    preds, target, video, _ = random_set(6, True)
    treated = cross_fit_predictions(preds, target, video, **options)
    folds = group_folds(video, options.get("num_folds", 5))
    for fold in np.unique(folds):
        rest, rows = folds != fold, folds == fold
        bias = fit_log_bias(preds["expression"][rest], target["expression"][rest])
        biased = apply_log_bias(preds["expression"][rows], bias)
        np.testing.assert_array_equal(treated["expression"][rows], biased)
        assert (biased.argmax(1) != preds["expression"][rows].argmax(1)).any()
        thresholds = tune_thresholds(
            preds["action_units"][rest], target["action_units"][rest], options.get("grid", GRID)
        )
        np.testing.assert_array_equal(
            treated["action_units"][rows], preds["action_units"][rows].astype(np.float64) >= thresholds
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"log_bias": (0.0,) * 7}, {"log_bias": (0.0,) * 7 + (np.nan,)}, {"log_bias": (-np.inf,) + (0.0,) * 7},
        {"thresholds": (0.5,) * 11}, {"thresholds": (0.5,) * 11 + (1.1,)}, {"thresholds": (np.nan,) * 12},
    ],
)  # fmt: skip
def test_numbers_out_of_range_or_missing_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Calibrator(**wrong)


def test_without_bias_expressions_stay() -> None:
    preds, target, video, _ = random_set(4, True)
    assert not any(fit_calibrator(preds, target, {}, with_bias=False).log_bias)
    treated = cross_fit_predictions(preds, target, video, with_bias=False)
    assert score(treated, target)["expression_f1"] == score(preds, target)["expression_f1"]


def test_the_file_gives_the_same_calibrator_back(tmp_path: Path) -> None:
    preds, target, *_ = random_set(5, True)
    smoothing = {
        "expression": Smoothing(100, "box", neighbours=7),
        "valence_arousal": Smoothing(10, sigma=99.0),
    }
    calibrator = fit_calibrator(preds, target, smoothing, grid=None)
    assert calibrator.smoothing == smoothing
    calibrator.save(tmp_path / "calibrator.json")
    assert Calibrator.load(tmp_path / "calibrator.json") == calibrator


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InvalidFileError, match=r"has the format None, not .mt-emotieffnet-calibrator"):
        Calibrator.load(tmp_path / "other.json")
