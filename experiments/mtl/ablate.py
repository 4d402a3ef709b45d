"""The ablation of stage 2: networks, inputs, thresholds, smoothing, and training without AffectNet.

    python -m experiments.mtl.ablate [recipe=demo] [key=value ...]

Takes the keys of `experiments.mtl`; each row has its own network and inputs, none a refit or a second stream. Features
are extracted once. Writes `ablation.csv` and a figure to `runs/mtl_ablation/<time>`. The end-to-end baseline's row
comes from the latest run of `experiments.mtl.train_baseline`, if that had the same data and settings.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
import wandb
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from affect.frames import locate_frames
from affect.networks.head_file import HeadsSpec
from affect.storage.atomic_write import write_text
from datamodules.aff_wild2 import is_official_set, load_splits
from datamodules.frozen_features.table import FeatureTable
from experiments.mtl.config import MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, goes_on_alone
from experiments.mtl.find_baseline import find_baseline, identify_data
from experiments.mtl.scores import score, score_steps
from experiments.mtl.train_baseline import MtlBaselineConfig
from experiments.mtl.train_heads import labelled_table, predict_rows, train_heads
from experiments.runtime.backbone_choice import settled
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import ConfigError
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.provenance import data_digest
from experiments.runtime.run import Run

MEASURES: Final = ("va_ccc", "expression_f1", "au_f1", "mtl_score")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        network: `joint`, `separate` or `slice`.
        inputs: What the heads see.
        published: Published values by measure and step, of the official set.
        shuffled: Whether the heads learn from other frames' features: what labels alone give.
    """

    network: str
    inputs: str
    published: Mapping[str, float] = field(default_factory=dict)
    shuffled: bool = False

    @property
    def name(self) -> str:
        """Name of the row."""
        return f"{self.network}, {self.inputs}" + (", shuffled" if self.shuffled else "")


def _published(*values: float, **more: float) -> dict[str, float]:
    return {**dict(zip(MEASURES, values, strict=True)), **more}


_TUNED: Final = {"au_f1@thresholds": 0.5218, "mtl_score@thresholds": 1.304}

VARIANTS: Final = (
    Variant("joint", "outputs", _published(0.420, 0.311, 0.450, 1.180)),
    Variant("joint", "features", _published(0.415, 0.308, 0.467, 1.190)),
    Variant("joint", "both", _published(0.414, 0.334, 0.463, 1.2115)),
    Variant("separate", "outputs", _published(0.443, 0.261, 0.454, 1.157)),
    Variant("separate", "features", _published(0.424, 0.339, 0.488, 1.250)),
    Variant("separate", "both", _published(0.417, 0.333, 0.486, 1.237)),
    Variant("slice", "features"),
    Variant("slice", "both", _published(0.4471, 0.3351, 0.4943, 1.2765, **_TUNED)),
    Variant("slice", "both", shuffled=True),
)
"""Published values: arXiv 2207.09508. "slice, outputs" would be "separate, outputs" once more."""

BASELINE: Final = "end to end, without AffectNet"
BASELINE_PUBLISHED: Final = {"mtl_score": 0.30}
"""P_MTL of the challenge's own baseline."""

SMOOTHED_THRESHOLDS: Final = "@smoothed_thresholds"
HEADINGS: Final = {
    "": "raw", "@thresholds": "thr.", "@smoothed": "smooth", SMOOTHED_THRESHOLDS: "both", "@calibrated": "calibr",
    "@thresholds_crossfit": "thr. †", "@calibrated_crossfit": "cal. †",
}  # fmt: skip
"""Suffix of the columns and heading of each step; `both` is thresholds on smoothed predictions."""


def ablate(config: MtlConfig) -> pd.DataFrame:
    """Train every variant and return the table that was written.

    Raises:
        ConfigError: If a key is set that has no part in this.
    """
    if config.stream.root or config.heads.refit:
        raise ConfigError("the ablation has neither a second stream (stream.root) nor refits (heads.refit)")
    ensure_demo_data("aff_wild2", config.data.root)
    config = replace(config, backbone=settled(config.backbone))
    run = Run("mtl_ablation", config, config.data.root)
    annotations = load_splits(config.data.root, config.data.check_counts)
    extractor = FeatureExtractor(run, config.backbone, config.data, config.features)
    stores = {split: extractor.store(split, rows.name) for split, rows in annotations.items()}
    if not goes_on_alone(run):
        return pd.DataFrame()
    train, val = (labelled_table(stores[split], annotations[split]) for split in ("train", "val"))

    official = is_official_set(annotations)
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        heads = HeadsSpec(
            variant.network, variant.inputs, extractor.num_features, extractor.num_outputs, config.heads.num_hidden,
            extractor.digest,
        )  # fmt: skip
        metrics = score_variant(run, config, heads, variant, train, val)
        rows.append(row_of(variant.name, metrics, variant.published))
        run.say(f"{variant.name}: P_MTL {rows[-1].get('mtl_score', np.nan):.4f}")
        write_table(run.folder / "ablation.csv", rows, official)
    data = identify_data(config.data.root, [name for part in annotations.values() for name in part.name])
    scored, reason = find_baseline(config, data, MtlBaselineConfig)
    run.say(
        f"[yellow]{BASELINE}: no row, {escape(reason)}[/]" if reason else f"{BASELINE}: from {scored.folder}"
    )
    rows.append(row_of(BASELINE, scored.metrics, BASELINE_PUBLISHED))
    table = write_table(run.folder / "ablation.csv", rows, official)
    run.save_figure("ablation", draw(table))
    if run.logger is not None:
        run.logger.experiment.log({"ablation": wandb.Table(dataframe=table)})
    metrics = {f"val/mtl_score/{row['variant']}": row["mtl_score"] for row in rows if "mtl_score" in row}
    provenance = {
        "backbone_sha256": extractor.digest, "data_root": config.data.root,
        "data_fingerprint": data_digest(annotations), **data,
    }  # fmt: skip
    run.finish(metrics, provenance)
    run.say(lay_out(table))
    return table


def score_variant(
    run: Run, config: MtlConfig, spec: HeadsSpec, variant: Variant, train: FeatureTable, val: FeatureTable
) -> dict[str, float]:
    """Train one variant's heads and score its steps."""
    if variant.shuffled:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(run.config.seed))
        train = replace(train, feature=train.feature[order], present=train.present[order])
    heads = replace(config.heads, network=variant.network, inputs=variant.inputs)
    trained = train_heads(run, heads, spec, train, val)
    target = {task: values.numpy() for task, values in val.labels.items()}
    preds = predict_rows(trained.module.heads, val)
    scores = score_steps(preds, target, *locate_frames(val.name), config.calibration)
    both = score(scores.smoothed, target, scores.calibrator.thresholds)
    return scores.metrics | {f"val/{name}{SMOOTHED_THRESHOLDS}": value for name, value in both.items()}


def row_of(name: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> dict[str, Any]:
    """Pick a variant's measures, a column per measure and step, with the published value beside its own."""
    row: dict[str, Any] = {"variant": name}
    for key in (f"{measure}{step}" for step in HEADINGS for measure in MEASURES):
        if f"val/{key}" in metrics:
            row[key] = metrics[f"val/{key}"]
        if key in published:
            row[f"published_{key}"] = published[key]
    return row


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], official: bool) -> pd.DataFrame:
    """Write the rows so far, on the official set each published column after the measured one."""
    found = set().union(*rows)
    keys = [f"{measure}{step}" for step in HEADINGS for measure in MEASURES]
    shown = [column for key in keys for column in (key, *([f"published_{key}"] if official else []))]
    order = ["variant", *(column for column in shown if column in found)]
    table = pd.DataFrame(rows, columns=order)
    write_text(path, table.to_csv(index=False))
    return table


def draw(table: pd.DataFrame) -> Figure:
    """Draw P_MTL of every variant: raw, smoothed and calibrated (cross-fitted); published values, if any, as marks."""
    steps = {"": "raw", "@smoothed": "smoothed", "@calibrated_crossfit": "calibrated, cross-fitted"}
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(table))
    for number, (step, label) in enumerate(steps.items()):
        if f"mtl_score{step}" in table:
            axes.bar(place + 0.27 * (number - 1), table[f"mtl_score{step}"].fillna(0), 0.27, label=label)
    if "published_mtl_score" in table:
        axes.plot(
            place - 0.27,
            table["published_mtl_score"],
            "D",
            color="black",
            markersize=5,
            label="published, raw",
        )
    axes.set_xticks(place, table["variant"], rotation=20, ha="right", fontsize=8)
    axes.set(ylabel="P_MTL, validation", title="Stage 2 ablation")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return figure


def lay_out(table: pd.DataFrame) -> Table:
    """Lay the table out for the terminal; a published value stands below the measured one."""
    laid = Table(
        title="Stage 2 ablation", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False,
        caption="P_VA to P_MTL raw, then P_MTL after each step; both: thresholds after smoothing.\n"
        "† thresholds and bias tuned on other videos than those judged; epochs are chosen on these videos everywhere"
        + ("\n[cyan]below: published, of this set[/]" if "published_mtl_score" in table else ""),
        caption_justify="left",
    )  # fmt: skip
    headings = dict(zip(MEASURES, ("P_VA", "P_EXPR", "P_AU", "P_MTL"), strict=True))
    headings |= {f"mtl_score{step}": heading for step, heading in HEADINGS.items() if step}
    shown = {key: heading for key, heading in headings.items() if key in table}
    laid.add_column("variant")
    for heading in shown.values():
        laid.add_column(heading, justify="right")
    for row in table.to_dict("records"):
        cells = []
        for key in shown:
            published = row.get(f"published_{key}", np.nan)
            lines = ["" if pd.isna(row[key]) else f"{row[key]:.3f}"]
            lines += [] if pd.isna(published) else [f"[cyan]{published:.3f}[/]"]
            cells.append("\n".join(lines))
        laid.add_row(row["variant"], *cells)
    return laid


def main() -> None:
    """Run from the command line; the recipes are those of `experiments.mtl`."""
    run_experiment(MtlConfig, "mtl_ablation", ablate, recipes="mtl")


if __name__ == "__main__":
    main()
