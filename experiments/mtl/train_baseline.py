"""The baseline that stage 2 beats: a network trained end to end on s-Aff-Wild2 alone, without the AffectNet stage.

    python -m experiments.mtl.train_baseline [recipe=demo] [key=value ...]

The same three losses over the labelled frames; the encoder starts from face weights, timm's hub weights or chance.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from affect.errors import UserError
from affect.frame_names import locate_frames
from affect.losses import balanced_unit_weights, inverse_frequency_weights
from affect.networks.backbone import input_statistics
from affect.tasks import TASKS
from datamodules.aff_wild2 import AffWild2DataModule
from experiments.mtl.config import CalibrationConfig
from experiments.mtl.find_baseline import identify_data
from experiments.mtl.prediction_table import write_predictions
from experiments.mtl.scores import challenge_table, score_steps
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import LoaderConfig, RunConfig
from experiments.runtime.config.options import option
from experiments.runtime.config.training import ModelConfig, OptimizerConfig, StageConfig, StagesConfig
from experiments.runtime.demo_set import ensure_demo_data, is_drawn_weights, warn_of_drawn_weights
from experiments.runtime.fit import fit_in_stages, load_initial_weights
from experiments.runtime.provenance import data_digest
from experiments.runtime.reports.messages import is_rank_zero
from experiments.runtime.reports.tables import published_if_official
from experiments.runtime.run import Run
from lightning_modules.end_to_end import LAYOUT, EndToEndModule

_log = logging.getLogger("experiments.mtl.train_baseline")


@dataclass
class BaselineDataConfig(LoaderConfig):
    """s-Aff-Wild2."""

    root: str = option(
        "data/demo/aff_wild2", "folder of s-Aff-Wild2; the demo set is drawn if it is missing", path=True
    )
    check_counts: bool = option(True, "compare the number of rows of an official list with the published one")
    image_size: int = option(112, "side of the network's input, in pixels; the frames have 112", ge=8, le=4096)
    flip: float = option(0.5, "probability of a horizontal flip in training", ge=0, le=1)


@dataclass
class MtlBaselineConfig(RunConfig):
    """Options of the experiment."""

    data: BaselineDataConfig = field(default_factory=BaselineDataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stages: StagesConfig = field(default_factory=lambda: StagesConfig(StageConfig(1, 1e-3), StageConfig(6, 1e-4)))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(sam_rho=0.0))
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    published: dict[str, float] = option(
        {}, "published values by metric name, shown in the closing table on the official set"
    )


def mtl_baseline(config: MtlBaselineConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("aff_wild2", config.data.root)
    run = Run("mtl_baseline", config, config.data.root)
    warn_of_drawn_weights(config.model.weights, config.data.root, "model.weights")
    mean, std = input_statistics(config.model.architecture)
    data = AffWild2DataModule(**asdict(config.data), mean=mean, std=std, seed=config.seed)
    data.setup()
    for split, rows in data.annotations.items():
        _log.info("%s: %s", split, rows.report.summary())
    module = build_module(config.model, config.optimizer, data)
    fit = fit_in_stages(run.fit_settings, module, data, config.stages.build(), "val/mtl_score")

    if not np.isfinite(fit.outputs.outputs).all():
        raise UserError("the network gives no numbers: it has diverged; lower the stages' learning rates")
    edges = np.cumsum([TASKS[task].width for task in LAYOUT])[:-1]
    preds = dict(zip(LAYOUT, np.split(fit.outputs.outputs, edges, axis=1), strict=True))
    video, frame = locate_frames(fit.outputs.names)
    scores = score_steps(preds, fit.outputs.labels, video, frame, config.calibration)
    metrics = {**fit.metrics, **scores.metrics}
    path = run.folder / "predictions_validation.parquet"
    if is_rank_zero():
        write_predictions(path, fit.outputs.names, fit.outputs.labels, preds, scores.smoothed)
    names = [name for rows in data.annotations.values() for name in rows.name]
    provenance = {
        "data_root": str(data.root), "data_fingerprint": data_digest(data.datasets), "official_set": data.is_official,
        **identify_data(data.root, names),
        "weights_from_drawn_faces": is_drawn_weights(config.model.weights),
    }  # fmt: skip
    metrics = run.finish(metrics, provenance)
    _log.info(challenge_table(metrics, published_if_official(config.published, data.is_official)))
    return metrics


def build_module(model: ModelConfig, optimizer: OptimizerConfig, data: AffWild2DataModule) -> EndToEndModule:
    """Build the network, with loss weights from the training labels, and load its encoder's initial weights."""
    rows = data.annotations["train"]
    module = EndToEndModule(
        model.architecture,
        inverse_frequency_weights(rows.report.expression_counts).tolist() if optimizer.class_weights else None,
        balanced_unit_weights(torch.from_numpy(rows.action_units)).tolist(),
        optimizer.sam_rho,
        optimizer.gradient_clip_norm,
        hub_weights=model.weights == "hub",
    )
    load_initial_weights(module.backbone, model.weights)
    return module


if __name__ == "__main__":
    run_experiment(MtlBaselineConfig, "mtl_baseline", mtl_baseline)
