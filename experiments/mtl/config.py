"""Configuration of stage 2."""

import re
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from affect.calibration.smoothing import KERNELS, Smoothing
from affect.calibration.thresholds import GRID
from affect.networks.engines import ENGINES, PRECISIONS
from affect.networks.heads import HEAD_INPUTS, NETWORKS
from affect.storage.feature_store import DTYPES
from affect.tasks import TASKS
from experiments.runtime.config.load import CORES, RunConfig
from experiments.runtime.config.options import ConfigError, one_of, option

DEFAULT_BACKBONE = "runs/pretrain/latest/backbone.safetensors"

PUBLISHED: Final = {
    "val/va_ccc": 0.4471, "val/expression_f1": 0.3351, "val/au_f1": 0.4943, "val/mtl_score": 1.2765,
    "val/au_f1@thresholds": 0.5218, "val/mtl_score@thresholds": 1.304,
}  # fmt: skip
"""arXiv 2207.09508, "slice", on the official set: threshold 0.5, and thresholds tuned on the validation videos."""


@dataclass
class DataConfig:
    """s-Aff-Wild2."""

    root: str = option(
        "data/demo/aff_wild2", "folder of s-Aff-Wild2; the demo set is drawn if it is missing", path=True
    )
    check_counts: bool = option(True, "compare the number of rows of an official list with the published one")
    max_missing: int = option(0, "number of listed images that may be missing or unreadable", ge=0)
    num_workers: int = option(
        CORES, "number of processes that decode images; 0: the main process does it", ge=0, le=1024
    )


@dataclass
class FeaturesConfig:
    """Extraction and storage of features."""

    cache_dir: str = option(".cache/features", "folder in which feature stores are kept", path=True)
    dtype: str = option("float32", "number format of stored features; float16 takes half the disk", choices=DTYPES)
    batch_size: int = option(64, "number of images per batch, and of rows per chunk of the store", ge=1)
    engine: str = option(
        "auto",
        "program that runs the encoder on a CPU: torch (PyTorch), onnx (ONNX Runtime) or openvino; auto: the fastest "
        "that is installed and agrees with PyTorch to 1e-4, for few images torch",
        choices=("auto", *ENGINES),
    )
    precision: str = option(
        "float32",
        "number format that the encoder computes in on a CPU; bfloat16 changes features by about 1 % and pays on "
        "processors that have it",
        choices=PRECISIONS,
    )


@dataclass
class EpochsConfig:
    """For how long each head trains."""

    expression: int = option(10, "number of epochs of the expression head", ge=1)
    valence_arousal: int = option(20, "number of epochs of the valence/arousal head", ge=1)
    action_units: int = option(10, "number of epochs of the action unit head", ge=1)
    joint: int = option(20, "number of epochs of the joint network", ge=1)


@dataclass
class RefitEpochsConfig(EpochsConfig):
    """For how long each head trains on training and validation rows together, where no epoch can be chosen."""

    expression: int = option(1, "number of epochs of the expression head in the refit", ge=1)
    valence_arousal: int = option(8, "number of epochs of the valence/arousal head in the refit", ge=1)
    action_units: int = option(3, "number of epochs of the action unit head in the refit", ge=1)
    joint: int = option(1, "number of epochs of the joint network in the refit", ge=1)


@dataclass
class HeadsConfig:
    """The heads; defaults as in arXiv 2207.09508, section 3.2."""

    network: str = option(
        "slice", "heads: slice (valence/arousal sees the backbone's outputs only), separate, or joint (one network)",
        choices=tuple(NETWORKS),
    )  # fmt: skip
    inputs: str = option("both", "inputs of the heads from the backbone", choices=HEAD_INPUTS)
    num_hidden: int = option(128, "number of hidden units of the action unit head; 0: no hidden layer", ge=0)
    learning_rate: float = option(1e-3, "learning rate of Adam", gt=0, le=10)
    l2: float = option(
        1 / 512, "L2 penalty: factor of the squared weights of the expression and valence/arousal heads", ge=0
    )
    joint_l2: float = option(
        1 / 256, "L2 penalty of the joint network: factor of the squared weights of its three layers", ge=0
    )
    batch_size: int = option(512, "number of rows per task and training step", ge=1)
    joint_batch_size: int = option(256, "number of rows per training step of the joint network", ge=1)
    epochs: EpochsConfig = field(default_factory=EpochsConfig)
    refit: bool = option(
        False,
        "for test predictions, train again on training and validation rows together, for heads.refit_epochs",
    )
    refit_epochs: RefitEpochsConfig = field(default_factory=RefitEpochsConfig)

    def epochs_by_group(self, network: str, refit: bool = False) -> dict[str, int]:
        """Return the epochs of each group of a network; for a refit its own."""
        epochs = self.refit_epochs if refit else self.epochs
        return {group: getattr(epochs, group) for group in NETWORKS[network].groups}

    def l2_of(self, network: str) -> float:
        """Return the L2 penalty of a network."""
        return getattr(self, f"{NETWORKS[network].key_prefix}l2")

    def batch_size_of(self, network: str) -> int:
        """Return the rows per group and training step of a network."""
        return getattr(self, f"{NETWORKS[network].key_prefix}batch_size")


@dataclass
class SmoothingConfig:
    """Smoothing of one task's predictions over time."""

    window: int = option(0, "distance of the farthest neighbour on each side, in frames; 0: no smoothing", ge=0)
    kernel: str = option("gaussian", "weights of the neighbours; box: all alike", choices=KERNELS)
    sigma: float = option(1e4, "sigma of the Gaussian exp(-(frame difference)^2 / sigma), in frames squared", gt=0)
    neighbours: int | None = option(None, "largest number of neighbours on each side; null: all in the window", ge=0)


@dataclass
class CalibrationConfig:
    """Treatment of predictions after the network."""

    valence_arousal: SmoothingConfig = field(default_factory=SmoothingConfig)
    expression: SmoothingConfig = field(default_factory=SmoothingConfig)
    action_units: SmoothingConfig = field(default_factory=SmoothingConfig)
    thresholds: str = option(
        "grid", "search of the action unit thresholds: on the grid 0.1, 0.2 to 0.9, or among all values (exact)",
        choices=("grid", "exact"),
    )  # fmt: skip
    log_bias: bool = option(True, "fit a bias per expression to the validation rows")
    num_folds: int = option(5, "number of folds of videos for the cross-fitted figures", ge=2)
    keep: str = option(
        "confirmed",
        "bias and thresholds used for test predictions; confirmed: those that improve the cross-fitted score",
        choices=("confirmed", "all"),
    )

    def smoothing(self) -> dict[str, Smoothing]:
        """Return each task's smoothing."""
        return {task: Smoothing(**asdict(getattr(self, task))) for task in TASKS}

    def grid(self) -> np.ndarray | None:
        """Return the thresholds to choose from; None for the exact search."""
        return GRID if self.thresholds == "grid" else None


@dataclass
class StreamConfig:
    """A second stream of per-frame features, for instance OpenFace's action units."""

    root: str | None = option(None, "folder with a CSV per video; null: no second stream", path=True)
    columns: str = option(r"AU\d+_[rc]", "regular expression that matches the whole names of the feature columns")
    min_confidence: float = option(
        0.7, "frames of lower confidence, or without success, use the first stream alone", ge=0, le=1
    )
    weight: dict[str, float] = option(
        {},
        "weight of the first stream by task; {}: {expression: 0.6}, as published; a task that is left out uses the "
        "first stream alone",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        for task in self.weight:
            one_of("a task of stream.weight", task, tuple(TASKS))
        try:
            re.compile(self.columns)
        except re.error as error:
            raise ConfigError(f"stream.columns={self.columns} is no regular expression: {error}") from error

    def weights(self) -> dict[str, float]:
        """Return the weights by task: those of the configuration, or the published ones.

        They are no default of the key, since what a user sets would be merged with it.
        """
        return self.weight or {"expression": 0.6}


@dataclass
class MtlConfig(RunConfig):
    """Options of the experiment."""

    backbone: str = option(
        DEFAULT_BACKBONE, "network that computes the features: a file or run of stage 1, or a published name", path=True
    )
    data: DataConfig = field(default_factory=DataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    published: dict[str, float] = option(
        PUBLISHED, "published values by metric name, shown in the closing table on the official set"
    )
