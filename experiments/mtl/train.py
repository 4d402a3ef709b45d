"""Stage 2: multi-task heads on s-Aff-Wild2 (arXiv 2207.09508, section 3.2).

    python -m experiments.mtl [recipe=demo] [key=value ...]

Extracts features with the frozen network of stage 1 (once), trains a head per task, and scores them on the validation
videos as the challenge does: as they are, with tuned thresholds, smoothed over time, and calibrated.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from affect.frame_names import locate_frames, video_of
from affect.networks.head_file import save_heads
from affect.storage.feature_store import FeatureStore
from affect.storage.fingerprint import file_digest
from datamodules.aff_wild2 import LISTS, is_official_set, load_splits
from datamodules.frozen_features.table import FeatureTable
from datamodules.readers.aff_wild2 import Annotations
from experiments.mtl.config import HeadsConfig, MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, leave_process_group
from experiments.mtl.figures import draw_figures
from experiments.mtl.prediction_table import write_predictions
from experiments.mtl.scores import Scores, challenge_table, score_steps
from experiments.mtl.second_stream import SecondStream
from experiments.mtl.train_heads import TrainedHeads, labelled_table, predict_rows, train_heads
from experiments.runtime.backbone_choice import resolve_backbone
from experiments.runtime.command_line import run_experiment
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.fit import FitSettings
from experiments.runtime.provenance import data_digest
from experiments.runtime.reports.tables import published_if_official
from experiments.runtime.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """Trained heads of one stream, with the rows that they learned from and were chosen on."""

    heads: TrainedHeads
    train: FeatureTable
    val: FeatureTable


def mtl(config: MtlConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("aff_wild2", config.data.root)
    # `latest` moves on: the run keeps the network that it is made with.
    config = replace(config, backbone=resolve_backbone(config.backbone))
    run = Run("mtl", config, config.data.root)
    stream = SecondStream(config.stream) if config.stream.root else None
    annotations = load_splits(config.data.root, config.data.check_counts)
    for split, rows in annotations.items():
        _log.info("%s: %s", split, rows.report.summary())
    extractor = FeatureExtractor(config.backbone, config.data, config.features, config.trainer, run.folder)
    stores = {split: extractor.store(split, rows.name) for split, rows in annotations.items()}
    if not leave_process_group():
        return {}
    train, val = (labelled_table(stores[split], annotations[split]) for split in ("train", "val"))

    heads = train_heads(run.fit_settings, config.heads, extractor.heads_spec(config.heads), train, val)
    _log.info("best epochs: %s", heads.best_epoch)
    fitted = {"": Fitted(heads, train, val)}
    preds = predict_rows(heads.module.heads, val)
    if stream is not None:
        tables = stream.table(train, "train"), stream.table(val, "val")
        other = stream.train(run.fit_settings, config.heads, *tables)
        preds = stream.blend(preds, other.module.heads, tables[1])
        fitted["stream_"] = Fitted(other, *tables)

    target = {task: values.numpy() for task, values in val.labels.items()}
    video, frame = locate_frames(val.name)
    scores = score_steps(preds, target, video, frame, config.calibration)
    log_kept_steps(scores)

    write_results(run.folder, fitted, scores, val.name)
    figures = draw_figures(heads.history, scores, target, np.array([video_of(name) for name in val.name]), frame)
    run.save_figures(figures)
    if config.heads.refit:
        refit_heads(run.folder, run.fit_settings, config.heads, fitted)
    provenance = describe_inputs(config, extractor.digest, stores, annotations)
    missing = {f"data/missing_{split}": len(store.missing) for split, store in stores.items() if store.missing}
    metrics = run.finish(
        {**scores.metrics, **missing},
        {**provenance, "best_epoch": heads.best_epoch},
        run.folder / "heads.safetensors",
    )
    published = published_if_official(config.published, provenance["official_set"])
    _log.info(challenge_table(metrics, published))
    return metrics


def log_kept_steps(scores: Scores) -> None:
    """Log which parts of the calibration test predictions do without, and why."""
    parts = {
        "bias": scores.kept.log_bias == scores.calibrator.log_bias,
        "thresholds": scores.kept.thresholds == scores.calibrator.thresholds,
    }
    if dropped := [part for part, same in parts.items() if not same]:
        judged = "val/mtl_score@calibrated_crossfit" in scores.metrics
        reason = "no gain on other videos" if judged else "one video cannot judge them"
        _log.info("%s left out for test predictions: %s", " and ".join(dropped), reason)


def write_results(folder: Path, fitted: Mapping[str, Fitted], scores: Scores, names: list[str]) -> None:
    """Write heads, calibrator and predictions of the validation images `names` to the run folder.

    `fitted` has the heads of each stream by the prefix of their file's name.
    """
    for prefix, part in fitted.items():
        save_heads(folder / f"{prefix}heads.safetensors", part.heads.module.heads, part.heads.spec)
    scores.kept.save(folder / "calibrator.json")
    target = {task: values.numpy() for task, values in fitted[""].val.labels.items()}
    write_predictions(folder / "predictions_validation.parquet", names, target, scores.raw, scores.smoothed)


def refit_heads(folder: Path, settings: FitSettings, config: HeadsConfig, fitted: Mapping[str, Fitted]) -> None:
    """Train the heads of each stream once more on training and validation rows, for the test set, and write them."""
    _log.info("training once more on training and validation rows, for the test set")
    for prefix, part in fitted.items():
        rows = part.train.joined(part.val)
        refit = train_heads(settings.unrecorded(), config, part.heads.spec, rows, None)
        save_heads(folder / f"{prefix}heads_refit.safetensors", refit.module.heads, part.heads.spec)


def describe_inputs(
    config: MtlConfig, digest: str, stores: Mapping[str, FeatureStore], annotations: Mapping[str, Annotations]
) -> dict[str, Any]:
    """Return the provenance of a run: its backbone, images and lists."""
    return {
        "data_root": str(config.data.root),
        "data_fingerprint": data_digest(annotations),
        "backbone": str(Path(config.backbone).resolve()),
        "backbone_sha256": digest,
        "images": {split: store.metadata["sources"]["images"] for split, store in stores.items()},
        "lists": {split: file_digest(Path(config.data.root) / name) for split, name in LISTS.items()},
        "official_set": is_official_set(annotations),
    }


def main() -> None:
    """Run from the command line."""
    run_experiment(MtlConfig, "mtl", mtl)
