"""Stage 0: learn faces without any emotion label, so that stage 1 need not start from nothing.

    python -m experiments.pretrain.train_identity [recipe=demo] [key=value ...]

Trains identity, and landmarks where files of them lie beside the images. Stage 1 starts from the run folder's
`backbone.safetensors` with `model.weights=`.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
from dataclasses import asdict, dataclass, field

import torch

from affect.networks.backbone import DEFAULT_ARCHITECTURE, Backbone, input_statistics
from affect.networks.backbone_file import BackboneSpec, save_backbone
from affect.storage.fingerprint import file_digest
from callbacks.stage_schedule import Stage
from datamodules.vggface2 import VGGFace2DataModule
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import LoaderConfig, RunConfig
from experiments.runtime.config.options import option
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.fit import fit_in_stages, load_initial_weights, weights_digest
from experiments.runtime.provenance import data_digest
from experiments.runtime.published_networks import resolve_weights
from experiments.runtime.reports import figures
from experiments.runtime.reports.messages import is_rank_zero
from experiments.runtime.reports.tables import results_table
from experiments.runtime.run import Run
from lightning_modules.identity import IdentityModule

_log = logging.getLogger("experiments.pretrain.train_identity")


@dataclass
class DataConfig(LoaderConfig):
    """Faces by person."""

    root: str = option(
        "data/demo/faces", "folder with a folder of images per person; the demo set is drawn if it is missing",
        path=True,
    )  # fmt: skip
    image_size: int = option(224, "side of the network's input, in pixels", ge=8, le=4096)
    grey: float = option(
        0.5,
        "probability of a grey-scale image in training, so that colour alone does not identify people",
        ge=0,
        le=1,
    )
    cache_dir: str = option(".cache/index", "folder of the index cache", path=True)


@dataclass
class FacesConfig(RunConfig):
    """Options of the experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    architecture: str = option(DEFAULT_ARCHITECTURE, "name of the network in timm")
    weights: str = option(
        "none",
        "initial weights of the encoder: none (random), a published name (`make models`), a state dict or safetensors "
        "file, or packaged:efficientnet-lite0",
        path=True,
    )
    epochs: int = option(12, "length of the training in epochs", ge=1)
    learning_rate: float = option(1e-3, "learning rate of Adam at the start; it falls to 0 along a cosine", gt=0, le=10)
    landmark_weight: float = option(
        10.0, "weight of the landmark loss; the cross entropy over people has weight 1", ge=0
    )


def train_faces(config: FacesConfig) -> dict[str, float]:
    """Run the experiment and return the metrics that it wrote."""
    ensure_demo_data("faces", config.data.root)
    weights = resolve_weights(config.weights, config.architecture, "weights")
    run = Run("faces", config, config.data.root)
    mean, std = input_statistics(config.architecture)
    data = VGGFace2DataModule(**asdict(config.data), mean=mean, std=std, seed=config.seed)
    data.setup()
    _log.info(
        "%d images of %d people, %d landmarks",
        len(data.datasets["train"]),
        len(data.people),
        data.num_landmarks,
    )

    module = IdentityModule(config.architecture, len(data.people), data.num_landmarks, config.landmark_weight)
    load_initial_weights(module.backbone, weights)
    stage = Stage("faces", config.epochs, config.learning_rate, encoder_frozen=False, schedule="cosine")
    fit = fit_in_stages(run.fit_settings, module, data, [stage], "val/identity_accuracy")

    path = run.folder / "backbone.safetensors"
    provenance = {"data_root": config.data.root, "data_fingerprint": data_digest(data.datasets)}
    if is_rank_zero():
        encoder = Backbone(config.architecture, num_outputs=0)
        encoder.encoder.load_state_dict(module.backbone.encoder.state_dict())
        notes = {
            "task": "identity and landmarks", "people": len(data.people), "images": len(data.datasets["train"]),
            "epochs": config.epochs, "seed": config.seed, "landmark_weight": config.landmark_weight,
            "started_from": weights_digest(weights) or "chance",
            "metrics": fit.metrics,
        }  # fmt: skip
        spec = BackboneSpec(encoder.architecture, config.data.image_size, mean, std, notes=notes)
        save_backbone(path, encoder, spec, torch.float16)
        provenance["weights_sha256"] = file_digest(path)
    curves = figures.training_curves(fit.history, {
        "loss": ["train/identity", "train/landmarks"],
        "identity": ["val/identity_accuracy"],
        "landmarks": ["val/landmark_error"],
    })  # fmt: skip
    run.save_figures({"training_curves": curves})
    metrics = run.finish(fit.metrics, provenance, path, run.folder / "checkpoints" / "best.ckpt")
    _log.info(results_table("Faces", metrics, {}))
    return metrics


if __name__ == "__main__":
    run_experiment(FacesConfig, "faces", train_faces)
