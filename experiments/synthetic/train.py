"""Stage 3: learn from synthetic faces and blend with the pre-trained network (arXiv 2207.09508, section 3.3).

    python -m experiments.synthetic [recipe=demo] [key=value ...]

Enlarges the synthetic training faces, trains a new classifier and then everything, and blends the result with the
pre-trained network's six logits. Every part is scored on the validation faces, which are real in the official set; the
networks' best epochs are chosen there too.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from affect.labels import SYNTHETIC_EXPRESSIONS, index_map
from affect.losses import mean_frequency_weights
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone, save_backbone
from affect.storage.atomic_write import write_json
from affect.storage.fingerprint import file_digest
from callbacks.validation_outputs import ValidationOutputs
from callbacks.wandb_panels import WandbPanels
from datamodules.synthetic_faces import (
    TRAIN_FOLDER,
    VALIDATION_FOLDER,
    SyntheticFacesDataModule,
    list_classes,
)
from experiments.runtime.backbone_choice import resolve_backbone
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import ConfigError
from experiments.runtime.demo_set import ensure_demo_data, warn_of_drawn_backbone
from experiments.runtime.fit import FitResult, FitSettings, evaluate, fit_in_stages, log_class_counts
from experiments.runtime.provenance import data_digest
from experiments.runtime.reports.messages import is_rank_zero
from experiments.runtime.reports.tables import metrics_table, published_if_official
from experiments.runtime.run import Run
from experiments.runtime.skipped_images import check_images, report_skipped
from experiments.synthetic.blend_report import BlendReport, report_blend
from experiments.synthetic.config import PART_HEADINGS, PUBLISHED, SyntheticConfig
from experiments.synthetic.figures import draw_figures
from experiments.synthetic.prepare_faces import prepare_faces
from lightning_modules.finetuning import FinetuningModule

MONITOR = "val/expression_f1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """The network of stage 1 and its file."""

    backbone: Backbone
    spec: BackboneSpec
    path: Path


@dataclass(frozen=True)
class Parts:
    """Results of training.

    Attributes:
        metrics: Scores of every part, with the suffixes of `suffixed`.
        module: The fine-tuned network.
        pretrained_outputs: Six logits of the pre-trained network on the validation set.
        fit: The last stage's fit.
        blend: The blend of both.
    """

    metrics: dict[str, float]
    module: FinetuningModule
    pretrained_outputs: ValidationOutputs
    fit: FitResult
    blend: BlendReport


def synthetic(config: SyntheticConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("synthetic", config.data.root)
    config = replace(config, backbone=resolve_backbone(config.backbone))
    pretrained = load_pretrained(config)
    run = Run("synthetic", config, config.data.root)
    data = build_data(config, pretrained.spec)
    log_class_counts(data.expressions, data.class_counts())

    parts = train_parts(run.fit_settings, config, data, pretrained, run.log_images)
    metrics = parts.metrics | report_skipped(data, run.folder)
    path = run.folder / "finetuned.safetensors"
    if is_rank_zero():
        save_results(path, parts, pretrained, data)
    figures = draw_figures(data, parts.pretrained_outputs, parts.fit, parts.blend)
    run.save_figures(figures, showing_images=["before_after"])
    digests = {"backbone_sha256": file_digest(pretrained.path), "finetuned_sha256": file_digest(path)}
    provenance = {
        "data_root": str(data.root), **describe_data(data), "official_set": data.is_official,
        "blend_folds": parts.blend.folds, **digests,
    }  # fmt: skip
    metrics = run.finish(metrics, provenance, path)
    published = published_if_official(PUBLISHED, data.is_official)
    _log.info(comparison_table(metrics, published, parts.blend.folds))
    return metrics


def load_pretrained(config: SyntheticConfig) -> Pretrained:
    """Load the network of stage 1, with a warning if it has learnt from drawn faces and the data set is not drawn.

    Raises:
        ConfigError: If it has no logit of one of the set's classes.
    """
    backbone, spec = load_backbone(config.backbone)
    if lacking := [name for name in SYNTHETIC_EXPRESSIONS if name not in spec.expressions]:
        raise ConfigError(
            f"{config.backbone} has no logit of {', '.join(lacking)}, which stage 3 fine-tunes and blends; its "
            f"expressions are {', '.join(spec.expressions) or 'none'}. Where these are other words for the same, train "
            f"stage 1 with these names, for instance data.rename.{lacking[0].lower()}={lacking[0]}"
        )
    warn_of_drawn_backbone(config.backbone, spec.notes.get("recipe"), config.data.root)
    return Pretrained(backbone, spec, Path(config.backbone))


def train_parts(
    settings: FitSettings,
    config: SyntheticConfig,
    data: SyntheticFacesDataModule,
    pretrained: Pretrained,
    log_images: bool = False,
    name: str = "",
) -> Parts:
    """Score the pre-trained network, train its successor in two stages, and blend the two.

    Args:
        settings: How and where to train.
        config: What to train, and how.
        data: The faces.
        pretrained: The network of stage 1.
        log_images: Whether images may be sent to W&B.
        name: Name of this training where a run has several, the folder of its fits below the run folder. W&B then gets
            no curves, since those of several trainings would overlap.

    Raises:
        ConfigError: If neither stage has an epoch.
        UnreadableImageError: If a face is missing or unreadable and `data.on_corrupt` is `raise`.
    """
    classifier, everything = config.stages.build()
    if not classifier.epochs + everything.epochs:
        raise ConfigError("neither stages.classifier.epochs nor stages.everything.epochs is above 0")
    assert settings.folder is not None
    if settings.resume and (old := settings.folder / name / "classifier_only").is_dir():
        raise ConfigError(f"{old} is of a version that trained in two fits, and cannot be resumed; start a new run")
    check_images(data, settings.folder)
    module = build_module(config, data, pretrained)
    scores, pretrained_outputs = evaluate(settings, module, data)
    metrics = suffixed(scores, "pretrained")
    if not config.start_from_pretrained:
        torch.manual_seed(config.seed)
        module.backbone.classifier = torch.nn.Linear(module.backbone.num_features, len(data.expressions))

    panels = [WandbPanels(data.expressions, pretrained.spec.mean, pretrained.spec.std, log_images)]
    stages = [classifier, replace(everything, with_sam=config.sam_everything)]
    named = settings.named(name, logged=not name)
    fit = fit_in_stages(named, module, data, stages, MONITOR, panels)
    for stage, part in zip(stages, ("classifier_only", "finetuned"), strict=True):
        if stage.name in fit.stage_scores:
            metrics |= suffixed(fit.stage_scores[stage.name], part)
    blend = report_blend(pretrained_outputs, fit.outputs, data.expressions, data.people)
    return Parts({**metrics, **blend.metrics}, module, pretrained_outputs, fit, blend)


def build_data(config: SyntheticConfig, spec: BackboneSpec) -> SyntheticFacesDataModule:
    """Prepare the faces and load them as the pre-trained network takes them."""
    root, preparation = Path(config.data.root), config.preparation
    sources = {"train": root / TRAIN_FOLDER}
    if preparation.validation:
        sources["val"] = root / VALIDATION_FOLDER
    data = SyntheticFacesDataModule(
        **asdict(config.data),
        copies={
            split: prepare_faces(
                source, list_classes(source)[0], preparation, config.trainer, config.data.on_corrupt
            )
            for split, source in sources.items()
        },
        image_size=spec.image_size, mean=spec.mean, std=spec.std, seed=config.seed,
    )  # fmt: skip
    data.setup()
    return data


def describe_data(data: SyntheticFacesDataModule) -> dict[str, Any]:
    """Return the digest of the faces, which is the same for all copies, and how the copies were made."""
    copies = {split: dict(copy.provenance) for split, copy in data.copies.items() if copy.provenance}
    return {"data_fingerprint": data_digest(data.datasets), "upscaling": copies}


def build_module(config: SyntheticConfig, data: SyntheticFacesDataModule, pretrained: Pretrained) -> FinetuningModule:
    """Build the network with the pre-trained encoder and, as its classifier, the pre-trained rows of its classes.

    Raises:
        ValueError: If the pre-trained network has no logit of a class; the message names it.
    """
    optimizer = asdict(config.optimizer)
    weights = mean_frequency_weights(data.class_counts()).tolist() if optimizer.pop("class_weights") else None
    module = FinetuningModule(pretrained.spec.architecture, data.expressions, weights, **optimizer)
    module.backbone.encoder.load_state_dict(pretrained.backbone.encoder.state_dict())
    rows = torch.from_numpy(index_map(data.expressions, pretrained.spec.outputs))
    classifier = pretrained.backbone.classifier.state_dict()
    module.backbone.classifier.load_state_dict({key: value[rows] for key, value in classifier.items()})
    return module


def save_results(path: Path, parts: Parts, pretrained: Pretrained, data: SyntheticFacesDataModule) -> None:
    """Write the fine-tuned network, and beside it `blend.json` with what prediction needs."""
    classes = tuple(data.expressions)
    save_backbone(path, parts.module.backbone, replace(pretrained.spec, expressions=classes, outputs=classes, notes={}))
    write_json(path.with_name("blend.json"), {
        "weight": parts.blend.weight, "space": parts.blend.space,
        "pretrained": str(pretrained.path.resolve()), "pretrained_sha256": file_digest(pretrained.path),
    })  # fmt: skip


def comparison_table(metrics: Mapping[str, float], published: Mapping[str, float], folds: str) -> Table:
    """Build a table of the system's parts side by side; `folds` says of what the cross-fitted blend's folds are."""
    names = [name.removesuffix("@blend") for name in metrics if name.endswith("@blend")]
    # Broken at hyphens for a terminal of 80 characters.
    columns = {f"@{part}": heading.replace("-", "-\n") for part, heading in PART_HEADINGS.items()}
    beside = f" (published {published['blend/weight']})" if published else ""
    return metrics_table(
        "Validation" + ("; publ: published, of this set" if published else ""), metrics, published,
        {name: name.removeprefix("val/expression_") for name in names}, columns,
        caption=f"blend: {metrics['blend/weight']:.1f} pre-trained{beside}, chosen on these images\n"
        f"† chosen in folds of other {folds}; the networks' epochs are chosen on these images in every column",
    )  # fmt: skip


def suffixed(scores: dict[str, float], part: str) -> dict[str, float]:
    """Mark scores with the part of the system that they are of."""
    return {f"{name}@{part}": value for name, value in scores.items() if name.startswith("val/")}


def main() -> None:
    """Run from the command line."""
    run_experiment(SyntheticConfig, "synthetic", synthetic)
