"""Configuration of stage 2."""

import re
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from affect.feature_store import DTYPES
from affect.heads import HEAD_INPUTS, NETWORKS
from affect.mtl_metrics import TASKS
from affect.smoothing import Smoothing
from affect.thresholds import GRID
from datamodules.feature_batches import JOINT
from experiments.config import CORES, RunConfig
from experiments.options import ConfigError, at_least, one_of, option

DEFAULT_BACKBONE = "runs/pretrain/latest/backbone.safetensors"

ENGINES: Final = ("auto", "torch", "onnx")
"""What may run the encoder on a CPU."""

PUBLISHED = {
    # arXiv 2207.09508, "slice": threshold 0.5, and thresholds tuned on validation.
    "val/va_ccc": 0.4471, "val/expression_f1": 0.3351, "val/au_f1": 0.4943, "val/mtl_score": 1.2765,
    "val/au_f1@thresholds": 0.5218, "val/mtl_score@thresholds": 1.304,
    # A 2026 entry with this backbone (raw 1.2733): valence/arousal and expression smoothed; then bias and thresholds.
    "val/mtl_score@smoothed": 1.3936, "val/mtl_score@calibrated": 1.4897,
}  # fmt: skip
"""Published values, on the real set."""


@dataclass
class DataConfig:
    """s-Aff-Wild2."""

    root: str = option("data/demo/aff_wild2", "folder of s-Aff-Wild2; the demo set is drawn if it is missing")
    check_counts: bool = option(True, "compare an official list with the published counts")
    max_missing: int = option(0, "this many listed images may be missing or unreadable")
    num_workers: int = option(CORES, "processes that decode images; 0 decodes in the main one")


@dataclass
class FeaturesConfig:
    """How features are extracted and kept."""

    cache_dir: str = option(".cache/features", "feature stores are kept below")
    dtype: str = option("float32", "float32, or float16 for half the disk")
    batch_size: int = option(64, "images per batch, and rows per chunk of the store")
    engine: str = option(
        "auto", "torch, onnx (ONNX Runtime, CPU), or auto: onnx where it is installed and pays"
    )

    def __post_init__(self) -> None:
        one_of("features.dtype", self.dtype, DTYPES)
        one_of("features.engine", self.engine, ENGINES)
        at_least("features.batch_size", self.batch_size, 1)


@dataclass
class EpochsConfig:
    """For how long each head trains."""

    expression: int = option(10, "of the expression head")
    valence_arousal: int = option(20, "of the valence/arousal head")
    action_units: int = option(10, "of the action unit head")
    joint: int = option(20, "of the joint network")


@dataclass
class HeadsConfig:
    """The heads; defaults as in arXiv 2207.09508, section 3.2."""

    network: str = option("slice", "slice (valence/arousal sees the outputs only), separate, or joint")
    inputs: str = option("both", "what heads see of the backbone: features, outputs or both")
    num_hidden: int = option(128, "width of the action units' hidden layer; 0 for none")
    learning_rate: float = option(1e-3, "of Adam")
    l2: float = option(1 / 512, "factor of the squared weights of expression and valence/arousal heads")
    batch_size: int = option(512, "rows per task and step")
    joint_batch_size: int = option(256, "rows per step of the joint network")
    epochs: EpochsConfig = field(default_factory=EpochsConfig)
    refit: bool = option(
        False, "for test predictions, train once more on training and validation rows, all epochs"
    )

    def __post_init__(self) -> None:
        one_of("heads.network", self.network, NETWORKS)
        one_of("heads.inputs", self.inputs, HEAD_INPUTS)
        at_least("heads.num_hidden", self.num_hidden, 0)
        at_least("heads.batch_size", self.batch_size, 1)
        at_least("heads.joint_batch_size", self.joint_batch_size, 1)

    def epochs_by_group(self, network: str) -> dict[str, int]:
        """Give the epochs of each task, or those of the joint network."""
        if network == "joint":
            return {JOINT: self.epochs.joint}
        return {task: getattr(self.epochs, task) for task in TASKS}


@dataclass
class SmoothingConfig:
    """How one task's predictions are smoothed over time."""

    window: int = option(0, "farthest neighbour on each side, in frames; 0 does not smooth")
    kernel: str = option("gaussian", "gaussian or box")
    sigma: float = option(1e4, "of the Gaussian exp(-(frame difference)^2 / sigma)")
    neighbours: int | None = option(None, "most rows on each side; by default all in the window")


@dataclass
class CalibrationConfig:
    """What is done to predictions after the network."""

    valence_arousal: SmoothingConfig = field(default_factory=SmoothingConfig)
    expression: SmoothingConfig = field(default_factory=SmoothingConfig)
    action_units: SmoothingConfig = field(default_factory=SmoothingConfig)
    thresholds: str = option("grid", "search action unit thresholds on the grid .1 to .9, or exact")
    log_bias: bool = option(True, "fit a bias per expression")
    num_folds: int = option(5, "folds of videos for the cross-fitted figures")
    keep: str = option(
        "confirmed",
        "for test predictions keep bias and thresholds that gain cross-fitted (confirmed), or all",
    )

    def __post_init__(self) -> None:
        one_of("calibration.thresholds", self.thresholds, ("grid", "exact"))
        one_of("calibration.keep", self.keep, ("confirmed", "all"))
        at_least("calibration.num_folds", self.num_folds, 2)
        self.smoothing()

    def smoothing(self) -> dict[str, Smoothing]:
        """Give each task's smoothing.

        Raises:
            ConfigError: If a setting is out of range.
        """
        smoothing = {}
        for task in TASKS:
            try:
                smoothing[task] = Smoothing(**asdict(getattr(self, task)))
            except ValueError as error:
                raise ConfigError(f"calibration.{task}: {error}") from error
        return smoothing

    def grid(self) -> np.ndarray | None:
        """Give the thresholds to choose from; None for the exact search."""
        return GRID if self.thresholds == "grid" else None


@dataclass
class StreamConfig:
    """A second stream of per-frame features, for instance OpenFace's action units."""

    root: str | None = option(None, "folder with a CSV per video; without it there is no second stream")
    columns: str = option(r"AU\d+_[rc]", "features: columns whose whole name matches this expression")
    min_confidence: float = option(
        0.7, "frames below this confidence, or without success, use the first stream"
    )
    weight: dict[str, float] = option(
        {},
        "weight of the first stream by task, for instance {expression: 0.6}, which none given means, as published; "
        "a task left out is the first stream alone",
    )

    def __post_init__(self) -> None:
        for task, value in self.weight.items():
            one_of("a task of stream.weight", task, TASKS)
            if not 0 <= value <= 1:
                raise ConfigError(f"stream.weight.{task} must lie between 0 and 1, not {value}")
        try:
            re.compile(self.columns)
        except re.error as error:
            raise ConfigError(f"stream.columns={self.columns} is no regular expression: {error}") from error

    def weights(self) -> dict[str, float]:
        """Give the weights by task: those that were set, or the published ones.

        They are no default of the key, since what a user sets would be merged with it.
        """
        return self.weight or {"expression": 0.6}


@dataclass
class MtlConfig(RunConfig):
    """Everything that can be set."""

    backbone: str = option(DEFAULT_BACKBONE, "the network that gives the features, of stage 1")
    data: DataConfig = field(default_factory=DataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    published: dict[str, float] = option(PUBLISHED, "published values by metric name, for the closing table")
