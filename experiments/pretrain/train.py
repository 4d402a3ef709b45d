"""Stage 1: pretrain MT-EmotiEffNet on AffectNet (arXiv 2207.09508, section 3.1).

    python -m experiments.pretrain [recipe=demo] [key=value ...]

Trains the classifier, then everything. The run folder's `backbone.safetensors` is what the later stages start from.
"""

from dataclasses import asdict, dataclass, field

import numpy as np
from matplotlib.figure import Figure

from affect.labels import VALENCE_AROUSAL
from affect.losses import inverse_frequency_weights
from affect.networks.backbone import input_statistics
from affect.networks.backbone_file import BackboneSpec, save_backbone
from affect.networks.weight_import import load_encoder_weights
from affect.storage.fingerprint import file_digest
from callbacks.validation_outputs import ValidationOutputs
from callbacks.wandb_panels import WandbPanels
from datamodules.affectnet import AffectNetDataModule
from datamodules.readers.affectnet import LAYOUTS
from experiments.runtime import figures
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import LoaderConfig, RunConfig
from experiments.runtime.config.options import option
from experiments.runtime.config.training import ExpressionOptimizerConfig, ModelConfig, StagesConfig
from experiments.runtime.demo_set import drawn_weights_warning, ensure_demo_data, is_drawn_weights
from experiments.runtime.fit import FitResult, fit_in_stages
from experiments.runtime.provenance import data_digest
from experiments.runtime.run import Run
from experiments.runtime.tables import published_if_official, results_table
from lightning_modules.pretraining import PretrainingModule


@dataclass
class DataConfig(LoaderConfig):
    """AffectNet."""

    root: str = option(
        "data/demo/affectnet", "folder of AffectNet; the demo set is drawn if it is missing", path=True
    )
    layout: str = option(
        "auto",
        "layout of the folder: csv (Manually_Annotated_Images) or npy (the 2021 release); auto: whichever is found",
        choices=("auto", *LAYOUTS),
    )
    image_size: int = option(224, "side of the network's input, in pixels", ge=8, le=4096)
    flip: float = option(0.0, "probability of a horizontal flip in training", ge=0, le=1)
    cache_dir: str = option(".cache/index", "folder of the annotation cache", path=True)


@dataclass
class PretrainConfig(RunConfig):
    """Everything that can be set."""

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
    run = Run("pretrain", config, config.data.root)
    key = "model.weights (make: WEIGHTS=)"
    if warning := drawn_weights_warning(config.model.weights, config.data.root, key):
        run.say(warning)

    mean, std = input_statistics(config.model.architecture)
    data = AffectNetDataModule(**asdict(config.data), mean=mean, std=std, seed=config.seed)
    data.setup()
    counts = zip(data.expressions, data.class_counts(), strict=True)
    run.say("training faces: " + ", ".join(f"{name} {count}" for name, count in counts))

    module = build_module(config, data, run)
    panels = WandbPanels(data.expressions, mean, std, run.log_images)
    fit = fit_in_stages(run, module, data, config.stages.build(), "val/expression_accuracy", [panels])

    fingerprint = data_digest(data.datasets)
    if run.is_first:
        spec = BackboneSpec(
            module.backbone.architecture, config.data.image_size, mean, std, tuple(data.expressions),
            (*data.expressions, *VALENCE_AROUSAL), {"recipe": config.recipe, "data": fingerprint},
        )  # fmt: skip
        save_backbone(run.folder / "backbone.safetensors", module.backbone, spec)
    draw_figures(run, data, fit)
    provenance = {
        "data_root": str(data.root), "data_fingerprint": fingerprint, "official_set": data.is_official,
        "weights_from_drawn_faces": is_drawn_weights(config.model.weights),
    }  # fmt: skip
    if config.model.weights not in ("none", "hub"):
        provenance["weights_sha256"] = file_digest(config.model.weights)
    files = (run.folder / "backbone.safetensors", run.folder / "checkpoints" / "best.ckpt")
    metrics = run.finish(fit.metrics, provenance, *files)
    run.say(results_table("Validation", metrics, published_if_official(config.published, data.is_official)))
    return metrics


def build_module(config: PretrainConfig, data: AffectNetDataModule, run: Run) -> PretrainingModule:
    """Build the network and fill its encoder."""
    optimizer = asdict(config.optimizer)
    weigh = optimizer.pop("class_weights")
    module = PretrainingModule(
        config.model.architecture,
        data.expressions,
        class_weights=inverse_frequency_weights(data.class_counts()).tolist() if weigh else None,
        hub_weights=config.model.weights == "hub",
        **optimizer,
    )
    if config.model.weights not in ("none", "hub"):
        report = load_encoder_weights(module.backbone.encoder, config.model.weights)
        run.say(f"encoder from {config.model.weights}: {report}")
    return module


def draw_figures(run: Run, data: AffectNetDataModule, fit: FitResult) -> None:
    """Draw confusion matrix, valence/arousal scatter, training curves and the worst mistakes."""
    outputs = fit.outputs
    target = outputs.labels["expression"]
    preds = outputs.outputs[:, : len(data.expressions)].argmax(1)
    accuracy = fit.metrics["val/expression_accuracy"]
    pictures = {
        "confusion_matrix": figures.confusion_matrix(target, preds, data.expressions, f"accuracy {accuracy:.3f}"),
        "training_curves": figures.training_curves(fit.history, {
            "loss": ["train/loss", "train/expression", "train/valence", "train/arousal"],
            "expression": ["val/expression_accuracy", "val/expression_f1"],
            "valence and arousal": ["val/valence_ccc", "val/arousal_ccc"],
        }),
        "worst_mistakes": worst_mistakes(data, outputs),
    }  # fmt: skip
    ccc = {
        name: fit.metrics[f"val/{name}_ccc"]
        for name in ("valence", "arousal")
        if f"val/{name}_ccc" in fit.metrics
    }
    if ccc:
        values = outputs.outputs[:, len(data.expressions) :]
        pictures["valence_arousal"] = figures.valence_arousal_scatter(
            outputs.labels["valence_arousal"], values, ccc
        )
    for name, figure in pictures.items():
        run.save_figure(name, figure, shows_images=name == "worst_mistakes")


def worst_mistakes(data: AffectNetDataModule, outputs: ValidationOutputs, num_images: int = 24) -> Figure:
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
    captions = [
        f"{data.expressions[target[row]]}\nas {data.expressions[logits[row].argmax()]}" for row in worst
    ]
    return figures.image_grid(images, captions, "most confident mistakes")


def main() -> None:
    """Run from the command line."""
    run_experiment(PretrainConfig, "pretrain", pretrain)
