"""The ablation of stage 3: what upscaling, depth of training, SAM and the AffectNet stage contribute.

    python -m experiments.synthetic_ablation [recipe=demo] [key=value ...]

Takes the keys of `experiments.synthetic`, and writes `ablation.csv` and a figure to `runs/synthetic_ablation/<time>`.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
import wandb
from matplotlib.figure import Figure
from rich.table import Table

from affect.atomic import atomic_path
from affect.backbone_file import BackboneSpec, file_digest, load_backbone
from affect.backbones import Backbone
from affect.checkpoints import load_encoder_weights
from experiments.command_line import run_experiment
from experiments.config import option
from experiments.demo import ensure_demo_data
from experiments.runner import Run
from experiments.synthetic import Parts, Pretrained, build_data, train_parts
from experiments.synthetic_config import SyntheticConfig
from experiments.synthetic_figures import before_after

OFFICIAL_BASELINE: Final = 0.50


@dataclass
class AblationConfig(SyntheticConfig):
    """The keys of stage 3, and those of the baseline."""

    baseline_weights: str = option(
        "demo_data/face_weights.safetensors", "start of the baseline's encoder: none, or a weights file"
    )


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Folder-safe name.
        method: Upscaling of the training faces.
        sam: Whether everything trains with SAM.
        upscale_validation: Whether validation faces are enlarged too.
        from_affectnet: Whether the encoder comes from stage 1; else the row is the baseline.
        published: Published macro F1 by part.
    """

    name: str
    method: str = "real-esrgan"
    sam: bool = True
    upscale_validation: bool = False
    from_affectnet: bool = True
    published: dict[str, float] = field(default_factory=dict)


VARIANTS: Final = (
    Variant(
        "real-esrgan",
        published={"pretrained": 0.6094, "classifier_only": 0.6198, "finetuned": 0.6729, "blend": 0.6818},
    ),
    Variant("lanczos", "lanczos"),
    Variant("none", "none", published={"finetuned": 0.6324, "blend": 0.6676}),
    Variant("real-esrgan, no SAM", sam=False, published={"finetuned": 0.6633}),
    Variant("real-esrgan, validation too", upscale_validation=True, published={"pretrained": 0.551}),
    Variant("synthetic set alone", from_affectnet=False, published={"finetuned": OFFICIAL_BASELINE}),
)  # fmt: skip
"""Published values: arXiv 2207.09508; the last row's is the challenge's baseline."""

PARTS: Final = ("pretrained", "classifier_only", "finetuned", "blend")


def ablate(config: AblationConfig) -> pd.DataFrame:
    """Train every variant and return the table that was written."""
    ensure_demo_data("synthetic", config.data.root)
    pretrained = Pretrained(*load_backbone(config.backbone), Path(config.backbone))
    run = Run("synthetic_ablation", config, config.data.root)
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    for variant in VARIANTS:
        run.say(f"[bold]{variant.name}[/]")
        parts = train_variant(run, config, variant, pretrained)
        for part in PARTS:
            score = parts.metrics.get(f"val/expression_f1@{part}")
            if score is None or (not variant.from_affectnet and part != "finetuned"):
                continue
            metrics[f"val/expression_f1@{part}/{variant.name}"] = score
            rows.append({
                "variant": variant.name, "part": part, "expression_f1": score,
                "expression_accuracy": parts.metrics[f"val/expression_accuracy@{part}"],
                "published_f1": variant.published.get(part),
            })  # fmt: skip
    table = pd.DataFrame(rows)
    if run.is_first:
        with atomic_path(run.folder / "ablation.csv") as temporary:
            table.to_csv(temporary, index=False)
    run.save_figure("ablation", draw(table))
    if run.logger is not None:
        run.logger.experiment.log({"ablation": wandb.Table(dataframe=table)})
    run.finish(metrics, {"backbone_sha256": file_digest(pretrained.path)})
    run.say(lay_out(table))
    return table


def train_variant(run: Run, config: AblationConfig, variant: Variant, pretrained: Pretrained) -> Parts:
    """Train one row of the table."""
    changed = deepcopy(config)
    changed.preparation.method = variant.method
    changed.preparation.validation = variant.upscale_validation
    changed.sam_everything = variant.sam
    start = pretrained
    if not variant.from_affectnet:
        start = Pretrained(
            untrained(pretrained.spec, config.baseline_weights), pretrained.spec, pretrained.path
        )
        changed.stages.everything.epochs += changed.stages.classifier.epochs
        changed.stages.classifier.epochs = 0
    data = build_data(changed, start.spec)
    if variant.name == "real-esrgan":
        run.save_figure("before_after", before_after(data), shows_images=True)
    folder = variant.name.replace(",", "").replace(" ", "-")
    return train_parts(run, changed, data, start, f"{folder}/")


def untrained(spec: BackboneSpec, weights: str) -> Backbone:
    """Build the network of stage 1 as it was before stage 1."""
    backbone = Backbone(spec.architecture, len(spec.outputs))
    if weights != "none":
        load_encoder_weights(backbone.encoder, weights)
    return backbone


def draw(table: pd.DataFrame) -> Figure:
    """Draw a group of bars per variant, published values as marks."""
    wide = table.pivot(index="variant", columns="part", values="expression_f1").reindex(
        index=list(dict.fromkeys(table["variant"])), columns=list(PARTS)
    )
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    wide.plot.bar(ax=axes, rot=15, width=0.8)
    for row in table.dropna(subset="published_f1").to_dict("records"):
        place = list(wide.index).index(row["variant"]) + 0.2 * (PARTS.index(row["part"]) - 1.5)
        axes.plot(place, row["published_f1"], marker="D", color="black", markersize=4, linestyle="none")
    axes.set(
        xlabel="", ylabel="macro F1, validation", title="Stage 3 ablation (diamonds: published, real data)"
    )
    axes.grid(axis="y", alpha=0.3)
    return figure


def lay_out(table: pd.DataFrame) -> Table:
    """Lay the table out for the terminal."""
    laid = Table(title="Stage 3 ablation, macro F1 on real validation faces", title_justify="left")
    for column in ("upscaling", "part", "F1", "accuracy", "published F1"):
        laid.add_column(column, justify="left" if column in ("upscaling", "part") else "right")
    for row in table.to_dict("records"):
        published = "" if pd.isna(row["published_f1"]) else f"{row['published_f1']:.4f}"
        scores = f"{row['expression_f1']:.4f}", f"{row['expression_accuracy']:.4f}"
        laid.add_row(row["variant"], row["part"], *scores, published)
    return laid


def main() -> None:
    """Run from the command line; the recipes are those of `experiments.synthetic`."""
    run_experiment(AblationConfig, "synthetic_ablation", ablate, recipes="synthetic")


if __name__ == "__main__":
    main()
