"""The ablation of stage 2: networks, inputs, thresholds, smoothing, and training without AffectNet.

    python -m experiments.mtl.ablate [recipe=demo] [key=value ...]

Takes the keys of `experiments.mtl`; each row has its own network and inputs, none a refit or a second stream. Features
are extracted once. Writes `ablation.csv` and a figure to `runs/mtl_ablation/<time>`. The end-to-end baseline's row
comes from the latest run of `experiments.mtl.train_baseline`, if that had the same data and settings.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.table import Table

from affect.frame_names import locate_frames
from datamodules.aff_wild2 import is_official_set, load_splits
from datamodules.frozen_features.table import FeatureTable
from experiments.mtl.config import CalibrationConfig, MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, leave_process_group
from experiments.mtl.find_baseline import find_baseline, identify_data
from experiments.mtl.scores import score, score_steps
from experiments.mtl.train_baseline import MtlBaselineConfig
from experiments.mtl.train_heads import TrainedHeads, labelled_table, predict_rows, train_heads
from experiments.runtime.backbone_choice import resolve_backbone
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import ConfigError
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.provenance import data_digest
from experiments.runtime.reports.ablation import AblationRows
from experiments.runtime.reports.tables import metrics_table
from experiments.runtime.run import Run

_log = logging.getLogger("experiments.mtl.ablate")

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
    config = replace(config, backbone=resolve_backbone(config.backbone))
    run = Run("mtl_ablation", config, config.data.root)
    annotations = load_splits(config.data.root, config.data.check_counts)
    extractor = FeatureExtractor(config.backbone, config.data, config.features, config.trainer, run.folder)
    stores = {split: extractor.store(split, rows.name) for split, rows in annotations.items()}
    if not leave_process_group():
        return pd.DataFrame()
    train, val = (labelled_table(stores[split], annotations[split]) for split in ("train", "val"))

    rows = AblationRows(run.folder / "ablation.csv", table_columns(is_official_set(annotations)))
    for variant in VARIANTS:
        heads = replace(config.heads, network=variant.network, inputs=variant.inputs)
        features = shuffled(train, config.seed) if variant.shuffled else train
        settings = run.fit_settings.unrecorded()
        trained = train_heads(settings, heads, extractor.heads_spec(heads), features, val)
        row = row_of(variant.name, score_heads(trained, val, config.calibration), variant.published)
        rows.add([row])
        _log.info("%s: P_MTL %.4f", variant.name, row.get("mtl_score", np.nan))
    data = identify_data(config.data.root, [name for part in annotations.values() for name in part.name])
    scored, reason = find_baseline(config, data, MtlBaselineConfig)
    if reason:
        _log.warning("%s: no row, %s", BASELINE, reason)
    else:
        _log.info("%s: from %s", BASELINE, scored.folder)
    rows.add([row_of(BASELINE, scored.metrics, BASELINE_PUBLISHED)])
    table = rows.table()
    run.save_figures({"ablation": draw(table)})
    run.log_table("ablation", table)
    metrics = {f"val/mtl_score/{row['variant']}": row["mtl_score"] for row in rows.rows if "mtl_score" in row}
    provenance = {
        "backbone_sha256": extractor.digest, "data_root": config.data.root,
        "data_fingerprint": data_digest(annotations), **data,
    }  # fmt: skip
    run.finish(metrics, provenance)
    _log.info(terminal_table(table))
    return table


def shuffled(table: FeatureTable, seed: int) -> FeatureTable:
    """Return a table whose labels stand beside other rows' features."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    return replace(table, feature=table.feature[order])


def score_heads(trained: TrainedHeads, val: FeatureTable, config: CalibrationConfig) -> dict[str, float]:
    """Score all steps of a variant's predictions, and thresholds on smoothed predictions."""
    target = {task: values.numpy() for task, values in val.labels.items()}
    preds = predict_rows(trained.module.heads, val)
    scores = score_steps(preds, target, *locate_frames(val.name), config)
    both = score(scores.smoothed, target, scores.calibrator.thresholds)
    return scores.metrics | {f"val/{name}{SMOOTHED_THRESHOLDS}": value for name, value in both.items()}


def table_columns(official: bool) -> list[str]:
    """Return the columns of `ablation.csv`: on the official set, each published value follows the measured one."""
    keys = [f"{measure}{step}" for step in HEADINGS for measure in MEASURES]
    return [
        "variant",
        *(column for key in keys for column in (key, *([f"published_{key}"] if official else []))),
    ]


def row_of(name: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> dict[str, Any]:
    """Pick a variant's measures, a column per measure and step, with the published value beside its own."""
    row: dict[str, Any] = {"variant": name}
    for key in (f"{measure}{step}" for step in HEADINGS for measure in MEASURES):
        if f"val/{key}" in metrics:
            row[key] = metrics[f"val/{key}"]
        if key in published:
            row[f"published_{key}"] = published[key]
    return row


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


def terminal_table(table: pd.DataFrame) -> Table:
    """Build the table for the terminal, with published values below the measured ones."""
    headings = dict(zip(MEASURES, ("P_VA", "P_EXPR", "P_AU", "P_MTL"), strict=True))
    headings |= {f"mtl_score{step}": heading for step, heading in HEADINGS.items() if step}
    metrics: dict[str, float] = {}
    published: dict[str, float] = {}
    for row in table.to_dict("records"):
        for key in headings:
            for values, column in ((metrics, key), (published, f"published_{key}")):
                if not pd.isna(row.get(column)):
                    values[f"{row['variant']}{key}"] = row[column]
    return metrics_table(
        "Stage 2 ablation", metrics, published, {name: name for name in table["variant"]},
        {key: heading for key, heading in headings.items() if key in table}, published_below=True,
        caption="P_VA to P_MTL raw, then P_MTL after each step; both: thresholds after smoothing.\n"
        "† thresholds and bias tuned on other videos than those judged; epochs are chosen on these videos everywhere"
        + ("\n[cyan]below: published, of this set[/]" if published else ""),
    )  # fmt: skip


if __name__ == "__main__":
    run_experiment(MtlConfig, "mtl_ablation", ablate, recipes="mtl")
