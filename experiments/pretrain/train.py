"""Stage 1: pretrain MT-EmotiEffNet on AffectNet (arXiv 2207.09508, section 3.1).

    python -m experiments.pretrain [recipe=demo] [key=value ...]

Trains the classifier, then everything. The run folder's `backbone.safetensors` is what the later stages start from.
"""

import logging
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from matplotlib.figure import Figure

from affect.labels import VALENCE_AROUSAL, index_map
from affect.losses import inverse_frequency_weights
from affect.networks.backbone import input_statistics
from affect.networks.backbone_file import BackboneSpec, save_backbone
from callbacks.validation_outputs import ValidationOutputs
from callbacks.wandb_panels import WandbPanels
from datamodules.labelled_faces import LabelledFacesDataModule
from datamodules.own_faces import OWN_LAYOUTS
from datamodules.readers.affectnet import LAYOUTS
from experiments.pretrain.own_data import OwnDataConfig, build_data
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import RunConfig
from experiments.runtime.config.options import option
from experiments.runtime.config.training import ExpressionOptimizerConfig, ModelConfig, StagesConfig
from experiments.runtime.demo_set import ensure_demo_data, is_drawn_weights, warn_of_drawn_weights
from experiments.runtime.fit import FitResult, fit_in_stages, load_initial_weights, log_class_counts, weights_digest
from experiments.runtime.provenance import data_digest
from experiments.runtime.published_networks import resolve_weights
from experiments.runtime.reports import figures
from experiments.runtime.reports.messages import is_rank_zero
from experiments.runtime.reports.tables import published_if_official, results_table
from experiments.runtime.run import Run
from lightning_modules.pretraining import PretrainingModule

_log = logging.getLogger(__name__)


@dataclass
class AugmentationConfig:
    """Random changes of training images, at the size of the network's input; 0 leaves a change out."""

    rotation: float = option(0.0, "largest rotation, in degrees", ge=0, le=180)
    scale: float = option(0.0, "largest relative change of the size", ge=0, le=0.9)
    shift: float = option(0.0, "largest shift, as a share of the side", ge=0, le=1)
    colour: float = option(0.0, "largest relative change of brightness, contrast and saturation", ge=0, le=1)
    grey: float = option(0.0, "probability of a grey-scale image", ge=0, le=1)
    blur: float = option(0.0, "probability of a Gaussian blur", ge=0, le=1)
    erase: float = option(0.0, "probability that one or two rectangles hide parts of the face", ge=0, le=1)


@dataclass
class DataConfig(OwnDataConfig):
    """AffectNet, or own data."""

    root: str = option(
        "data/demo/affectnet", "folder of AffectNet or own data; the demo set is drawn if it is missing", path=True
    )
    layout: str = option(
        "auto",
        "layout of the folder: AffectNet's csv (Manually_Annotated_Images) or npy (the 2021 release), or own data in "
        "folders of classes or a table; auto: whichever is found",
        choices=("auto", *LAYOUTS, *OWN_LAYOUTS),
    )
    image_size: int = option(224, "side of the network's input, in pixels", ge=8, le=4096)
    flip: float = option(0.0, "probability of a horizontal flip in training", ge=0, le=1)
    augment: AugmentationConfig = field(default_factory=AugmentationConfig)
    cache_dir: str = option(".cache/index", "folder of the annotation cache", path=True)


@dataclass
class PretrainConfig(RunConfig):
    """Options of the experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stages: StagesConfig = field(default_factory=StagesConfig)
    optimizer: ExpressionOptimizerConfig = field(default_factory=ExpressionOptimizerConfig)
    published: dict[str, float] = option(
        {}, "published values by metric name, shown in the closing table on the official set"
    )


def pretrain(config: PretrainConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("affectnet", config.data.root)
    weights = resolve_weights(config.model.weights, config.model.architecture, "model.weights")
    run = Run("pretrain", config, config.data.root)
    warn_of_drawn_weights(weights, config.data.root, "model.weights (make: WEIGHTS=)")
    mean, std = input_statistics(config.model.architecture)
    data = build_data(config.data, mean, std, config.seed)
    data.setup()
    log_class_counts(data.expressions, data.class_counts())

    module = build_module(replace(config.model, weights=weights), config.optimizer, data)
    panels = [WandbPanels(data.expressions, mean, std, run.log_images)] if data.expressions else []
    fit = fit_in_stages(run.fit_settings, module, data, config.stages.build(), module.monitor, panels)

    fingerprint = data_digest(data.datasets)
    if is_rank_zero():
        spec = BackboneSpec(
            module.backbone.architecture, config.data.image_size, mean, std, tuple(data.expressions),
            (*data.expressions, *data.dimensions), {"recipe": config.recipe, "data": fingerprint},
        )  # fmt: skip
        save_backbone(run.folder / "backbone.safetensors", module.backbone, spec)
    run.save_figures(draw_figures(data, fit), showing_images=["worst_mistakes"])
    provenance = {
        "data_root": str(data.root), "data_fingerprint": fingerprint, "official_set": data.is_official,
        "weights_from_drawn_faces": is_drawn_weights(weights),
    }  # fmt: skip
    if digest := weights_digest(weights):
        provenance["weights_sha256"] = digest
    files = (run.folder / "backbone.safetensors", run.folder / "checkpoints" / "best.ckpt")
    metrics = run.finish(fit.metrics, provenance, *files)
    _log.info(results_table("Validation", metrics, published_if_official(config.published, data.is_official)))
    return metrics


def build_module(
    model: ModelConfig, optimizer: ExpressionOptimizerConfig, data: LabelledFacesDataModule
) -> PretrainingModule:
    """Build the network, with class weights from the training labels, and load its encoder's initial weights."""
    options = asdict(optimizer)
    weigh = options.pop("class_weights") and data.expressions
    module = PretrainingModule(
        model.architecture,
        data.expressions,
        class_weights=inverse_frequency_weights(data.class_counts()).tolist() if weigh else None,
        hub_weights=model.weights == "hub",
        dimensions=data.dimensions,
        **options,
    )
    load_initial_weights(module.backbone, model.weights)
    return module


def draw_figures(data: LabelledFacesDataModule, fit: FitResult) -> dict[str, Figure]:
    """Draw training curves and, where there are labels, a confusion matrix, the worst mistakes and valence/arousal."""
    outputs = fit.outputs
    drawn = {
        "training_curves": figures.training_curves(fit.history, {
            "loss": ["train/loss", "train/expression", "train/valence", "train/arousal"],
            "expression": ["val/expression_accuracy", "val/expression_f1"],
            "valence and arousal": ["val/valence_ccc", "val/arousal_ccc"],
        }),
    }  # fmt: skip
    if data.expressions:
        preds = outputs.outputs[:, : len(data.expressions)].argmax(1)
        title = f"accuracy {fit.metrics['val/expression_accuracy']:.3f}"
        target = outputs.labels["expression"]
        drawn["confusion_matrix"] = figures.confusion_matrix(target, preds, data.expressions, title)
        drawn["worst_mistakes"] = worst_mistakes(data, outputs)
    measured = [name for name in data.dimensions if f"val/{name.lower()}_ccc" in fit.metrics]
    if measured:
        values = np.full_like(outputs.labels["valence_arousal"], np.nan)
        values[:, index_map(data.dimensions, VALENCE_AROUSAL)] = outputs.outputs[:, len(data.expressions) :]
        ccc = {name.lower(): fit.metrics[f"val/{name.lower()}_ccc"] for name in measured}
        drawn["valence_arousal"] = figures.valence_arousal_scatter(outputs.labels["valence_arousal"], values, ccc)
    return drawn


def worst_mistakes(data: LabelledFacesDataModule, outputs: ValidationOutputs, num_images: int = 24) -> Figure:
    """Draw the wrong predictions whose logit is furthest above the true class's."""
    logits = outputs.outputs[:, : len(data.expressions)]
    target = outputs.labels["expression"]
    rows = np.flatnonzero(target >= 0)
    margin = logits[rows].max(1) - logits[rows, target[rows]]
    worst = rows[np.argsort(-margin, kind="stable")[:num_images]]
    worst = worst[logits[worst].argmax(1) != target[worst]]
    dataset = data.datasets["val"]
    positions = {name: position for position, name in enumerate(dataset.names)}
    images = [dataset[positions[outputs.names[row]]]["image"] for row in worst]
    captions = [f"{data.expressions[target[row]]}\nas {data.expressions[logits[row].argmax()]}" for row in worst]
    return figures.image_grid(images, captions, "most confident mistakes")


def main() -> None:
    """Run from the command line."""
    run_experiment(PretrainConfig, "pretrain", pretrain)
