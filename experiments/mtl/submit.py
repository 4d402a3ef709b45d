"""Predict s-Aff-Wild2's test list with a run of stage 2 and write the challenge's submission file.

    python -m experiments.mtl.submit [run=runs/mtl/latest] [key=value ...]

Keys of that run may be given again, for instance data.root, except those of heads and calibration. A listed image that
is missing takes the prediction of the frame before it.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from affect.calibration.calibrator import Calibrator, Predictions
from affect.frame_names import locate_frames
from affect.networks.head_file import load_heads
from affect.submissions.mtl import write_mtl_submission
from datamodules.aff_wild2 import load_test_names
from datamodules.frozen_features.table import feature_table
from datamodules.readers.aff_wild2 import read_annotations
from experiments.mtl.config import MtlConfig
from experiments.mtl.extract_features import FeatureExtractor, leave_process_group
from experiments.mtl.scores import score
from experiments.mtl.second_stream import SecondStream
from experiments.mtl.train_heads import predict_rows
from experiments.runtime.backbone_choice import find_backbone
from experiments.runtime.command_line import run_on_finished_run
from experiments.runtime.config.options import option
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.run import Run

_log = logging.getLogger("experiments.mtl.submit")

DEFAULT_RUN = "runs/mtl/latest"
TRUTH = "test_set_annotations.txt"
"""Labels of the test list, which only the demo set has; if the file exists, predictions are scored."""


@dataclass
class MtlSubmitConfig(MtlConfig):
    """The run's own configuration, and the run."""

    run: str = option(DEFAULT_RUN, "run folder of stage 2 whose heads and calibrator predict", path=True)
    output: str | None = option(None, "file to write; null: predictions.txt in the run folder", path=True)


def mtl_submit(config: MtlSubmitConfig) -> Path:
    """Write the submission and return its path."""
    ensure_demo_data("aff_wild2", config.data.root)
    folder = Path(config.run).resolve()
    refit = "_refit" if (folder / "heads_refit.safetensors").is_file() else ""
    heads, spec = load_heads(folder / f"heads{refit}.safetensors")
    calibrator = Calibrator.load(folder / "calibrator.json")
    names = load_test_names(config.data.root, config.data.check_counts)
    # The run's own backbone, by its digest: `latest` may have moved on, and folders may have been moved.
    config = replace(config, backbone=find_backbone(config.backbone, spec.features_from, folder))
    run = Run("mtl_submit", config, config.data.root)

    # The challenge wants a line for every image; yet with most of them gone, the set was not unpacked.
    data = replace(config.data, max_missing=max(config.data.max_missing, len(names) // 2))
    extractor = FeatureExtractor(config.backbone, data, config.features, config.trainer, run.folder)
    store = extractor.store("test", names)
    if not leave_process_group():
        return run.folder
    table = feature_table(store.features, {}, names, store.rows(names))
    preds: Predictions = predict_rows(heads, table)
    if config.stream.root:
        second, second_spec = load_heads(folder / f"stream_heads{refit}.safetensors")
        stream = SecondStream(config.stream, second_spec.features_from)
        preds = stream.blend(preds, second, stream.table(table, "test"))
    preds = calibrator.apply(preds, *locate_frames(names))
    decided = {**preds, "action_units": calibrator.decide(preds["action_units"])}

    path = Path(config.output) if config.output else run.folder / "predictions.txt"
    write_mtl_submission(path, names, decided["valence_arousal"], decided["expression"], decided["action_units"])
    _log.info(
        "%s: %d rows, valid; %d images are missing and take the frame before",
        path,
        len(names),
        len(store.missing),
    )
    metrics: dict[str, float] = {"test/rows": len(names), "test/missing": len(store.missing)}
    truth = Path(config.data.root) / TRUTH
    if truth.is_file():
        metrics |= {f"test/{name}": value for name, value in score_truth(truth, names, decided).items()}
        p_mtl = metrics.get("test/mtl_score", np.nan)
        _log.info("P_MTL on the test list, whose labels this set has: %.4f", p_mtl)
    run.finish(metrics, {"run": str(folder), "backbone_sha256": extractor.digest}, path)
    return path


def score_truth(truth: Path, names: list[str], decided: Predictions) -> dict[str, float]:
    """Score decided predictions against labels of the same images."""
    annotations = read_annotations(truth)
    places = {name: row for row, name in enumerate(names)}
    rows = np.array([places[name] for name in annotations.name])
    return score({task: values[rows] for task, values in decided.items()}, annotations.labels)


def main() -> None:
    """Run from the command line; the run's own configuration takes the recipe's place."""
    run_on_finished_run(MtlSubmitConfig, "mtl_submit", mtl_submit, trained_by="mtl", settled=("heads", "calibration"))


if __name__ == "__main__":
    main()
