"""Stage 2: multi-task heads on s-Aff-Wild2 (arXiv 2207.09508, section 3.2).

    python -m experiments.mtl [recipe=demo] [key=value ...]

Extracts features with the frozen network of stage 1 (once), trains a head per task, and scores them on the validation
videos as the challenge does: as they are, with tuned thresholds, smoothed over time, and calibrated.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from affect.frames import locate_frames, video_of
from affect.networks.head_file import HeadsSpec, save_heads
from affect.storage.fingerprint import file_digest
from datamodules.aff_wild2 import LISTS, is_official_set, load_splits
from experiments.mtl.config import MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, goes_on_alone
from experiments.mtl.figures import draw_figures
from experiments.mtl.prediction_table import write_predictions
from experiments.mtl.scores import challenge_table, score_steps
from experiments.mtl.second_stream import SecondStream
from experiments.mtl.train_heads import labelled_table, predict_rows, train_heads
from experiments.runtime.backbone_choice import settled
from experiments.runtime.command_line import run_experiment
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.provenance import data_digest
from experiments.runtime.run import Run
from experiments.runtime.tables import published_if_official


def mtl(config: MtlConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("aff_wild2", config.data.root)
    # `latest` moves on: the run keeps the network that it is made with.
    config = replace(config, backbone=settled(config.backbone))
    run = Run("mtl", config, config.data.root)
    stream = SecondStream(run, config.stream) if config.stream.root else None

    annotations = load_splits(config.data.root, config.data.check_counts)
    for split, rows in annotations.items():
        run.say(f"{split}: {rows.report.summary()}")
    extractor = FeatureExtractor(run, config.backbone, config.data, config.features)
    stores = {split: extractor.store(split, rows.name) for split, rows in annotations.items()}
    if not goes_on_alone(run):
        return {}
    train, val = (labelled_table(stores[split], annotations[split]) for split in ("train", "val"))

    spec = HeadsSpec(
        config.heads.network, config.heads.inputs, extractor.num_features, extractor.num_outputs,
        config.heads.num_hidden, extractor.digest,
    )  # fmt: skip
    trained = train_heads(run, config.heads, spec, train, val, run.folder)
    run.say(f"best epochs: {trained.best_epoch}")
    preds = predict_rows(trained.module.heads, val)
    fits = {"": (spec, train, val)}
    if stream is not None:
        tables = stream.table(train, "train"), stream.table(val, "val")
        other = stream.train(config.heads, *tables)
        save_heads(run.folder / "stream_heads.safetensors", other.module.heads, other.spec)
        preds = stream.blend(preds, other.module.heads, tables[1])
        fits["stream_"] = (other.spec, *tables)

    target = {task: values.numpy() for task, values in val.labels.items()}
    video, frame = locate_frames(val.name)
    scores = score_steps(preds, target, video, frame, config.calibration)
    save_heads(run.folder / "heads.safetensors", trained.module.heads, spec)
    scores.kept.save(run.folder / "calibrator.json")
    parts = {
        "bias": scores.kept.log_bias == scores.calibrator.log_bias,
        "thresholds": scores.kept.thresholds == scores.calibrator.thresholds,
    }
    dropped = [part for part, same in parts.items() if not same]
    if dropped:
        judged = "val/mtl_score@calibrated_crossfit" in scores.metrics
        why = "no gain on other videos" if judged else "one video cannot judge them"
        run.say(f"{' and '.join(dropped)} left out for test predictions: {why}")
    write_predictions(
        run.folder / "predictions_validation.parquet", val.name, target, scores.raw, scores.smoothed
    )
    draw_figures(run, trained, scores, target, np.array([video_of(name) for name in val.name]), frame)
    if config.heads.refit:
        run.say("training once more on training and validation rows, for the test set")
        for prefix, (heads_spec, first, second) in fits.items():
            refit = train_heads(run, config.heads, heads_spec, first.joined(second), None)
            save_heads(run.folder / f"{prefix}heads_refit.safetensors", refit.module.heads, heads_spec)

    official = is_official_set(annotations)
    provenance = {
        "data_root": str(config.data.root),
        "data_fingerprint": data_digest(annotations),
        "backbone": str(Path(config.backbone).resolve()),
        "backbone_sha256": extractor.digest,
        "images": {split: store.metadata["sources"]["images"] for split, store in stores.items()},
        "lists": {split: file_digest(Path(config.data.root) / name) for split, name in LISTS.items()},
        "best_epoch": trained.best_epoch,
        "official_set": official,
    }
    metrics = dict(scores.metrics)
    metrics |= {
        f"data/missing_{split}": len(store.missing) for split, store in stores.items() if store.missing
    }
    metrics = run.finish(metrics, provenance, run.folder / "heads.safetensors")
    run.say(challenge_table(metrics, published_if_official(config.published, official)))
    return metrics


def main() -> None:
    """Run from the command line."""
    run_experiment(MtlConfig, "mtl", mtl)
