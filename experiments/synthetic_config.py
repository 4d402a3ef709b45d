"""Configuration of stage 3."""

from dataclasses import dataclass, field
from typing import Final

from experiments.config import LoaderConfig, RunConfig
from experiments.options import option
from experiments.training_config import ExpressionOptimizerConfig, StageConfig, StagesConfig
from experiments.upscaling import UpscalingOptions

PARTS: Final = ("pretrained", "classifier_only", "finetuned", "blend")
"""What is scored, in this order; a metric's name ends in `@` and its part."""

PUBLISHED: Final = {
    "val/expression_f1@pretrained": 0.6094,
    "val/expression_f1@classifier_only": 0.6198,
    "val/expression_f1@finetuned": 0.6729,
    "val/expression_f1/Anger@finetuned": 0.833,
    "val/expression_f1/Disgust@finetuned": 0.771,
    "val/expression_f1/Fear@finetuned": 0.219,
    "val/expression_f1/Happiness@finetuned": 0.863,
    "val/expression_f1/Sadness@finetuned": 0.716,
    "val/expression_f1/Surprise@finetuned": 0.636,
    "val/expression_f1@blend": 0.6818,
    "val/expression_accuracy@blend": 0.757,
    "val/expression_f1/Anger@blend": 0.826,
    "val/expression_f1/Disgust@blend": 0.750,
    "val/expression_f1/Fear@blend": 0.226,
    "val/expression_f1/Happiness@blend": 0.883,
    "val/expression_f1/Sadness@blend": 0.750,
    "val/expression_f1/Surprise@blend": 0.656,
    "blend/weight": 0.3,
}
"""arXiv 2207.09508, on the 4,670 validation faces of the real set."""


@dataclass
class DataConfig(LoaderConfig):
    """The synthetic set (LSD)."""

    root: str = option("data/demo/synthetic", "folder of the set; the demo set is drawn if it is missing")
    test_images: str | None = option(None, "folder of the test images; by default <root>/test_set_images")
    jitter: list[float] = option(
        [0.3, 0.3, 0.3, 0.1], "largest changes of brightness, contrast, saturation, hue"
    )
    flip: float = option(0.5, "probability of a horizontal flip while training")


@dataclass
class PreparationConfig:
    """What is done to the faces before training."""

    method: str = option("real-esrgan", "real-esrgan, lanczos (plain enlargement), or none")
    validation: bool = option(False, "enlarge the validation faces too; published to hurt")
    folder: str = option(".cache/upscaled", "enlarged copies are kept below")
    upscaling: UpscalingOptions = field(default_factory=UpscalingOptions)


@dataclass
class SyntheticConfig(RunConfig):
    """Everything that can be set."""

    backbone: str = option("runs/pretrain/latest/backbone.safetensors", "the pre-trained network, of stage 1")
    data: DataConfig = field(default_factory=DataConfig)
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    stages: StagesConfig = field(
        default_factory=lambda: StagesConfig(everything=StageConfig(epochs=5, learning_rate=1e-4))
    )
    optimizer: ExpressionOptimizerConfig = field(
        default_factory=lambda: ExpressionOptimizerConfig(label_smoothing=0.1)
    )
    sam_everything: bool = option(True, "use SAM also when everything trains")
    start_from_pretrained: bool = option(
        False, "start the classifier from the pre-trained rows, not from chance"
    )
