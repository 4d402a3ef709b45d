"""Config groups of the experiments that train a backbone."""

from dataclasses import asdict, dataclass, field

from affect.backbones import DEFAULT_ARCHITECTURE
from callbacks.staged_training import Stage
from experiments.options import option


@dataclass
class ModelConfig:
    """The network."""

    architecture: str = option(DEFAULT_ARCHITECTURE, "any timm name")
    weights: str = option(
        "none", "start of the encoder: none, hub (timm's), or a state dict or safetensors file"
    )


@dataclass
class StageConfig:
    """One stage of training."""

    epochs: int = option(3, "length; 0 leaves the stage out")
    learning_rate: float = option(1e-3, "of Adam")
    schedule: str = option("constant", "constant, or cosine: from the rate to 0 over the stage")


@dataclass
class StagesConfig:
    """The stages, in order; defaults as in arXiv 2207.09508."""

    classifier: StageConfig = field(default_factory=StageConfig)
    everything: StageConfig = field(default_factory=lambda: StageConfig(epochs=6, learning_rate=1e-4))

    def build(self) -> list[Stage]:
        """Give the stages as the callback takes them."""
        return [
            Stage("classifier", **asdict(self.classifier), encoder_frozen=True),
            Stage("everything", **asdict(self.everything), encoder_frozen=False),
        ]


@dataclass
class OptimizerConfig:
    """The step and what it minimises."""

    sam_rho: float = option(0.05, "radius of SAM's ball; 0 trains with plain Adam")
    gradient_clip_norm: float | None = option(None, "clip the gradient's norm")
    class_weights: bool = option(True, "weigh expressions by 1/count")


@dataclass
class ExpressionOptimizerConfig(OptimizerConfig):
    """The same where expressions are learnt by cross entropy."""

    label_smoothing: float = option(0.0, "share of the target spread over all expressions")
