"""Configuration of stage 3."""

from dataclasses import dataclass, field

from experiments.config import LoaderConfig, RunConfig, option
from experiments.training_config import OptimizerConfig, StageConfig, StagesConfig
from experiments.upscaling import UpscalingOptions


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
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(label_smoothing=0.1))
    sam_everything: bool = option(True, "use SAM also when everything trains")
    start_from_pretrained: bool = option(
        False, "start the classifier from the pre-trained rows, not from chance"
    )
    published: dict[str, float] = option({}, "published values by metric name, for the closing table")
