"""Benchmark of thresholds and smoothing against the notebooks' loops over scikit-learn and over neighbours.

    python -m benchmarks.calibration [--repeats 8]

On as many rows as s-Aff-Wild2's validation set has: 26,876 frames of 50 videos.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.metrics import f1_score

from affect.calibration.calibrator import Predictions
from affect.calibration.smoothing import Smoothing, smooth
from affect.calibration.thresholds import GRID, f1_curves
from benchmarks.timing import interleaved, parse_options, ratio_table, write_results
from experiments.mtl.config import CalibrationConfig, SmoothingConfig
from experiments.mtl.scores import score_steps

ROWS: Final = 26_876
VIDEOS: Final = 50
SMOOTHING: Final = Smoothing(window=300, sigma=1e4)


def simulate(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Draw predictions, labels, videos and frame numbers (about every fifth frame) of a full-size set."""
    random = np.random.default_rng(seed)
    video = np.sort(random.integers(0, VIDEOS, ROWS))
    sizes = np.bincount(video, minlength=VIDEOS)
    frame = np.concatenate([np.sort(random.choice(5 * size, size, replace=False)) for size in sizes])
    target = {
        "valence_arousal": random.uniform(-1, 1, (ROWS, 2)).astype(np.float32),
        "expression": np.where(random.random(ROWS) < 0.574, random.integers(0, 8, ROWS), -1),
        "action_units": (random.random((ROWS, 12)) < 0.2).astype(np.float32),
    }
    preds = {
        "valence_arousal": np.clip(target["valence_arousal"] + random.normal(0, 0.5, (ROWS, 2)), -1, 1).astype(
            np.float32
        ),
        "expression": random.dirichlet(np.ones(8), ROWS).astype(np.float32),
        "action_units": np.clip(random.beta(2, 4, (ROWS, 12)) + 0.2 * target["action_units"], 0, 1).astype(np.float32),
    }
    return preds, target, video, frame


def loop_over_scikit_learn(preds: Predictions, target: Predictions) -> np.ndarray:
    """Compute F1 at each threshold of the grid, one call per threshold and action unit."""
    scores = np.empty((len(GRID), 12))
    for unit in range(12):
        probability = preds["action_units"][:, unit].astype(np.float64)
        for place, threshold in enumerate(GRID):
            scores[place, unit] = f1_score(target["action_units"][:, unit], probability >= threshold)
    return scores


def loop_over_neighbours(values: np.ndarray, video: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Smooth row by row and neighbour by neighbour, as the notebooks do, but divided by the weights used."""
    result = np.empty(values.shape)
    size = len(values)
    for row in range(size):
        total, weights = np.zeros(values.shape[1]), 0.0
        for step in (-1, 1):
            other = row if step < 0 else row + 1
            while 0 <= other < size and video[other] == video[row]:
                distance = frame[other] - frame[row]
                if abs(distance) > SMOOTHING.window:
                    break
                weight = np.exp(-(distance**2) / SMOOTHING.sigma)
                total += weight * values[other]
                weights += weight
                other += step
        result[row] = total / weights
    return result


def time_pair(name: str, peer: Callable[[], object], ours: Callable[[], object], repeats: int) -> list[dict[str, Any]]:
    """Time our function and its peer."""
    seconds = interleaved({f"{name}: loops": peer, f"{name}: ours": ours}, repeats)
    table = ratio_table(seconds, f"{name}: loops", ROWS, "rows")
    return [{key.replace(f" over {name}: loops", " over loops"): value for key, value in row.items()} for row in table]


def main() -> None:
    """Check that both ways agree, then time them; write benchmarks/results/calibration.md."""
    repeats = parse_options(__doc__, repeats=8).repeats
    preds, target, video, frame = simulate()

    assert np.array_equal(
        loop_over_scikit_learn(preds, target), f1_curves(preds["action_units"], target["action_units"])
    )
    part = slice(0, int(np.searchsorted(video, 5)))  # the loop over all rows takes minutes
    piece = preds["expression"][part], video[part], frame[part]
    difference = np.abs(loop_over_neighbours(*piece) - smooth(*piece, SMOOTHING)).max()
    assert difference < 1e-6, difference  # of float32 results

    rows = time_pair(
        "thresholds", lambda: loop_over_scikit_learn(preds, target),
        lambda: f1_curves(preds["action_units"], target["action_units"]), repeats,
    )  # fmt: skip
    smoothing = time_pair("smoothing", lambda: loop_over_neighbours(*piece), lambda: smooth(*piece, SMOOTHING), repeats)
    for row in smoothing:
        row["rows/s"] = round(len(piece[0]) / row["median s"], 2)
    config = CalibrationConfig(
        valence_arousal=SmoothingConfig(1000, sigma=1e5, neighbours=10),
        expression=SmoothingConfig(1000, sigma=1e5, neighbours=100),
        action_units=SmoothingConfig(100, sigma=1e3, neighbours=5),
    )
    start = time.perf_counter()
    score_steps(preds, target, video, frame, config)
    whole = time.perf_counter() - start
    write_results(
        "calibration",
        [*rows, *smoothing],
        title="Thresholds and smoothing",
        notes=[
            f"F1 over {len(GRID)} thresholds and 12 action units, {ROWS} rows: equal to scikit-learn's bit by bit.",
            f"Gaussian smoothing of 8 columns, {SMOOTHING.window} frames to each side, {len(piece[0])} rows: largest "
            f"difference {difference:.1e}, that of float32 rounding.",
            f"The whole calibration of {ROWS} rows (smoothing of all tasks, thresholds, expression bias, and five-fold "
            f"cross-fitting of both): {whole:.2f} s.",
        ],
    )


if __name__ == "__main__":
    main()
