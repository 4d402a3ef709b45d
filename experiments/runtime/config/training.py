"""Config groups of the experiments that train a backbone."""

from dataclasses import asdict, dataclass, field

from affect.networks.backbone import DEFAULT_ARCHITECTURE
from callbacks.stage_schedule import KEEPS, SCHEDULES, Stage
from experiments.runtime.config.options import option


@dataclass
class ModelConfig:
    """The network."""

    architecture: str = option(DEFAULT_ARCHITECTURE, "name of the network in timm")
    weights: str = option(
        "none",
        "initial weights of the encoder: none (random), hub (timm's), a published name (`make models`), a weights "
        "file, or packaged:efficientnet-lite0 (ImageNet's, of tf_efficientnet_lite0, without network)",
        path=True,
    )


@dataclass
class StageConfig:
    """One stage of training."""

    epochs: int = option(3, "length of the stage in epochs; 0 leaves it out", ge=0)
    learning_rate: float = option(1e-3, "learning rate of Adam at the start of the stage", gt=0, le=10)
    schedule: str = option(
        "constant",
        "course of the learning rate; cosine: from its start to 0 over the stage",
        choices=SCHEDULES,
    )
    keep: str = option(
        "best",
        "epoch whose weights the stage ends with; best: in validation; last: nothing is chosen by validation scores",
        choices=KEEPS,
    )


@dataclass
class StagesConfig:
    """The stages, in order; defaults as in arXiv 2207.09508."""

    classifier: StageConfig = field(default_factory=StageConfig)
    everything: StageConfig = field(default_factory=lambda: StageConfig(epochs=6, learning_rate=1e-4))

    def build(self) -> list[Stage]:
        """Return the stages for the StageSchedule callback."""
        return [
            Stage("classifier", **asdict(self.classifier), encoder_frozen=True),
            Stage("everything", **asdict(self.everything), encoder_frozen=False),
        ]


@dataclass
class OptimizerConfig:
    """The step and what it minimises."""

    sam_rho: float = option(
        0.05,
        "radius rho of sharpness-aware minimisation (SAM), as norm over all weights; 0: plain Adam",
        ge=0,
        le=10,
    )
    gradient_clip_norm: float | None = option(None, "largest norm of the gradient; null: not clipped", gt=0)
    class_weights: bool = option(True, "weigh each expression's loss by 1 / (number of its training images)")


@dataclass
class ExpressionOptimizerConfig(OptimizerConfig):
    """The same where expressions are learnt by cross entropy."""

    label_smoothing: float = option(
        0.0, "label smoothing: share of the target that is spread evenly over all expressions", ge=0, lt=1
    )
