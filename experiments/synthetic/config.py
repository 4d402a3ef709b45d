"""Configuration of stage 3."""

from dataclasses import dataclass, field
from typing import Final

from experiments.runtime.config.load import LoaderConfig, RunConfig
from experiments.runtime.config.options import ConfigError, option
from experiments.runtime.config.training import ExpressionOptimizerConfig, StageConfig, StagesConfig
from experiments.upscale import UpscalingOptions

METHODS: Final = ("real-esrgan", "lanczos", "none")
"""Methods of preparing faces."""

PARTS: Final = ("pretrained", "classifier_only", "finetuned", "blend", "blend_crossfit")
"""Parts of the system that are scored, in this order; a metric's name ends in `@` and its part. `blend` is the best of
22 settings (11 weights, on logits or probabilities) on the images it is scored on, `blend_crossfit` on other images."""

PART_HEADINGS: Final = {
    "pretrained": "pre-trained", "classifier_only": "head only", "finetuned": "all layers", "blend": "blend",
    "blend_crossfit": "blend †",
}  # fmt: skip

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
"""arXiv 2207.09508, on the 4,670 validation faces of the official set; the blend's is in-sample, as `blend` is."""


@dataclass
class DataConfig(LoaderConfig):
    """The synthetic set (LSD)."""

    root: str = option(
        "data/demo/synthetic",
        "folder of the data set (LSD); the demo set is drawn if it is missing",
        path=True,
    )
    test_images: str | None = option(None, "folder of the test images; null: test_set_images in data.root", path=True)
    jitter: list[float] = option(
        [0.3, 0.3, 0.3, 0.1],
        "largest random changes in training: relative ones of brightness, contrast and saturation, and that of hue as "
        "a share of the colour circle (at most 0.5)",
        ge=0,
        le=1,
        length=4,
    )
    flip: float = option(0.5, "probability of a horizontal flip in training", ge=0, le=1)

    def __post_init__(self) -> None:
        if len(self.jitter) == 4 and 0.5 < self.jitter[3] <= 1:  # the rest is checked with the other options
            raise ConfigError(f"data.jitter: the change of hue must be at most 0.5, not {self.jitter[3]}")


@dataclass
class PreparationConfig:
    """Preparation of the faces before training."""

    method: str = option(
        "real-esrgan", "how faces are enlarged; lanczos: by interpolation, without a network", choices=METHODS
    )
    validation: bool = option(False, "enlarge the validation faces too")
    folder: str = option(".cache/upscaled", "folder in which enlarged copies are kept", path=True)
    upscaling: UpscalingOptions = field(default_factory=UpscalingOptions)


@dataclass
class SyntheticConfig(RunConfig):
    """Options of the experiment."""

    backbone: str = option(
        "runs/pretrain/latest/backbone.safetensors",
        "pre-trained network: a file or run of stage 1, or a published name",
        path=True,
    )
    data: DataConfig = field(default_factory=DataConfig)
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    stages: StagesConfig = field(
        default_factory=lambda: StagesConfig(everything=StageConfig(epochs=5, learning_rate=1e-4))
    )
    optimizer: ExpressionOptimizerConfig = field(default_factory=lambda: ExpressionOptimizerConfig(label_smoothing=0.1))
    sam_everything: bool = option(True, "use SAM also in the stage in which all layers train")
    start_from_pretrained: bool = option(
        False, "start the classifier from the pre-trained weights of its expressions; false: from random ones"
    )
