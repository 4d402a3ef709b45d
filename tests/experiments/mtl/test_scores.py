import io
from dataclasses import replace

import numpy as np
from rich.console import Console

from affect.calibration.calibrator import Calibrator
from experiments.mtl.config import CalibrationConfig, SmoothingConfig
from experiments.mtl.scores import ROWS, STEPS, challenge_table, confirmed, score, score_steps


def noisy_set() -> tuple[dict, dict, np.ndarray, np.ndarray]:
    """Draw labels that change slowly over 6 videos, and predictions with noise that changes fast."""
    random = np.random.default_rng(0)
    video, frame = np.repeat(np.arange(6), 80), np.tile(np.arange(80) * 3, 6)
    slow = np.sin(frame[:, None] / random.uniform(20, 40, 22) + random.uniform(0, 6, 22) + video[:, None])
    target = {
        "valence_arousal": slow[:, :2].astype(np.float32),
        "expression": slow[:, 2:10].argmax(1),
        "action_units": (slow[:, 10:] > 0.5).astype(np.float32),
    }
    noise = random.normal(0, 1, slow.shape)
    logits = 2 * (slow + noise)
    preds = {
        "valence_arousal": np.tanh(slow[:, :2] + noise[:, :2]).astype(np.float32),
        "expression": (np.exp(logits[:, 2:10]) / np.exp(logits[:, 2:10]).sum(1, keepdims=True)).astype(np.float32),
        "action_units": (1 / (1 + np.exp(-logits[:, 10:]))).astype(np.float32) * 0.8,
    }
    return preds, target, video, frame


def config() -> CalibrationConfig:
    how = SmoothingConfig(30, "gaussian", 200.0)
    return CalibrationConfig(how, how, how, num_folds=3)


def test_each_step_equals_its_definition() -> None:
    preds, target, video, frame = noisy_set()
    found = score_steps(preds, target, video, frame, config())
    metrics = found.metrics
    assert {name.removeprefix("val/") for name in metrics} >= {f"{row}{step}" for row in ROWS for step in STEPS}
    assert metrics["val/mtl_score"] == score(preds, target)["mtl_score"]
    smoothed = Calibrator(config().smoothing()).apply(preds, video, frame)
    assert metrics["val/mtl_score@smoothed"] == score(smoothed, target)["mtl_score"]
    applied = found.calibrator.apply(preds, video, frame)
    assert metrics["val/mtl_score@calibrated"] == score(applied, target, found.calibrator.thresholds)["mtl_score"]
    assert metrics["val/mtl_score@smoothed"] > metrics["val/mtl_score"] + 0.2
    assert metrics["val/mtl_score@thresholds"] > metrics["val/mtl_score"]
    assert metrics["val/mtl_score@calibrated"] > metrics["val/mtl_score@calibrated_crossfit"]
    assert metrics["val/mtl_score@calibrated_crossfit"] > metrics["val/mtl_score"] + 0.2


def test_only_what_cross_fitting_confirms_is_kept() -> None:
    preds, target, video, frame = noisy_set()
    fitted = score_steps(preds, target, video, frame, config())
    metrics = {
        "val/expression_f1@smoothed": 0.5, "val/expression_f1@calibrated_crossfit": 0.4,
        "val/au_f1@smoothed": 0.5, "val/au_f1@calibrated_crossfit": 0.6,
    }  # fmt: skip
    kept = confirmed(fitted.calibrator, metrics)
    assert not any(kept.log_bias)
    assert any(fitted.calibrator.log_bias)
    assert kept.thresholds == fitted.calibrator.thresholds
    assert kept.smoothing == fitted.calibrator.smoothing
    assert confirmed(fitted.calibrator, {}) == replace(Calibrator(), smoothing=kept.smoothing), "nothing to go by"
    everything = score_steps(preds, target, video, frame, replace(config(), keep="all"))
    assert everything.kept == everything.calibrator


def test_a_single_video_has_no_cross_fitted_figures() -> None:
    preds, target, video, frame = noisy_set()
    one = video == 0
    metrics = score_steps(
        {task: values[one] for task, values in preds.items()},
        {task: values[one] for task, values in target.items()}, video[one], frame[one], config(),
    ).metrics  # fmt: skip
    assert "val/mtl_score@calibrated" in metrics
    assert not [name for name in metrics if "crossfit" in name]


def test_the_table_shows_published_values_and_dashes() -> None:
    metrics = {"val/va_ccc": 0.5, "val/valence_ccc": 0.4}
    table = challenge_table(metrics, {"val/va_ccc": 0.4471, "val/mtl_score": 1.2765})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    lines = {
        label: line
        for line in console.export_text().splitlines()
        for label in ROWS.values()
        if line.startswith(f"{label} ")
    }
    assert "0.500" in lines["P_VA"]
    assert "0.447" in lines["P_VA"]
    assert "—" in lines["P_MTL"]
    assert "1.276" in lines["P_MTL"] or "1.277" in lines["P_MTL"]
    assert list(lines) == list(ROWS.values())


def test_the_table_fits_a_narrow_terminal() -> None:
    values = {f"val/{name}{step}": -0.1234 for name in ROWS for step in STEPS}
    published = {f"val/mtl_score{step}": 1.25 for step in ("", "@thresholds", "@smoothed", "@calibrated")}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(challenge_table(values, published))
    text = console.export_text()
    assert "…" not in text
    assert text.count("-0.123") == len(ROWS) * len(STEPS)
    assert text.count("1.250") == 4
