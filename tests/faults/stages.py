"""The stages that processes are disturbed in, small enough for a second each."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch

import experiments.mtl.train
import experiments.pretrain.train
import experiments.synthetic.train
from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, save_backbone
from affect.super_resolution.networks import SRVGGNetCompact
from datamodules.aff_wild2 import load_splits
from demo_data.aff_wild2 import write_aff_wild2
from demo_data.affectnet import write_affectnet
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.mtl.config import MtlConfig
from experiments.mtl.extract_features import FeatureExtractor
from experiments.mtl.train import mtl
from experiments.pretrain.train import PretrainConfig, pretrain
from experiments.runtime.config.load import TrainerConfig, load_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.run import Run
from experiments.synthetic.config import SyntheticConfig
from experiments.synthetic.train import synthetic
from experiments.upscale import UpscalingOptions, upscale_tree
from tests.faults.trials import Work, digests

ARCHITECTURE: Final = "test_efficientnet.r160_in1k"
QUIET: Final = ("trainer.accelerator=cpu", "trainer.progress_bar=false", "wandb.mode=disabled")
CLOCKS: Final = ("wall_seconds", "train/images_per_second")


STAGES: Final = (
    "drawing the demo",
    "stage 1, pretraining",
    "stage 2, features",
    "stage 2, heads",
    "upscaling",
    "stage 3, fine-tuning and blend",
)


def make_stages(root: Path) -> dict[str, Work]:
    """Draw tiny sets below a folder, and give the work of each stage on them by the stage's name."""
    torch.set_num_threads(1)
    write_affectnet(root / "affectnet", train=16, validation=8, size=48, workers=1)
    write_aff_wild2(root / "aff_wild2", train=40, validation=40, test=10, frames_per_video=10, workers=1)
    write_synthetic_faces(root / "synthetic", train=24, validation=18, test=3, workers=1)
    torch.manual_seed(0)
    outputs = (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL)
    spec = BackboneSpec(ARCHITECTURE, 32, (0.5,) * 3, (0.25,) * 3, BACKBONE_EXPRESSIONS, outputs)
    save_backbone(root / "backbone.safetensors", Backbone(ARCHITECTURE, len(outputs)), spec)
    torch.save({"params": SRVGGNetCompact(4, 8, 2).state_dict()}, root / "network.pth")
    rng = np.random.default_rng(0)
    (root / "faces").mkdir()
    for number in range(6):
        assert cv2.imwrite(str(root / "faces" / f"{number}.png"), rng.integers(0, 256, (12, 12, 3), np.uint8))
    extraction(root, root / "features")
    stages = pretraining, extraction, heads, upscaling, finetuning
    works: list[Work] = [draw, *(partial(work, root) for work in stages)]
    return dict(zip(STAGES, works, strict=True))


def draw(folder: Path) -> Mapping[str, object]:
    """Draw synthetic faces."""
    write_synthetic_faces(folder / "set", train=24, validation=18, test=3, workers=1)
    return digests(folder / "set")


def pretraining(root: Path, folder: Path) -> Mapping[str, object]:
    """Train both phases."""
    words = [
        f"data.root={root / 'affectnet'}", f"data.cache_dir={folder / 'cache'}", "data.image_size=32",
        "data.batch_size=8", "data.num_workers=0", f"model.architecture={ARCHITECTURE}", "model.weights=none",
        "stages.classifier.epochs=1", "stages.everything.epochs=2", "trainer.limit_train_batches=null",
        "trainer.limit_val_batches=null", *QUIET,
    ]  # fmt: skip
    return train("pretrain", PretrainConfig, pretrain, folder, words, "debug")


def extraction(root: Path, folder: Path) -> Mapping[str, object]:
    """Extract the features of both lists, or go on with what is there."""
    config = mtl_config(root, folder, folder / "cache")
    run = Run("mtl", config, config.data.root)
    extractor = FeatureExtractor(config.backbone, config.data, config.features, config.trainer, run.folder)
    for split, rows in load_splits(config.data.root, False).items():
        extractor.store(split, rows.name)
    run.close()
    return digests(folder / "cache", "*.npy") | digests(folder / "cache", "names.txt")


def heads(root: Path, folder: Path) -> Mapping[str, object]:
    """Train heads on features that are there, and calibrate; begun anew each time."""
    leave_out_figures()
    mtl(mtl_config(root, folder, root / "features" / "cache"))
    return result(folder / "runs" / "mtl" / "latest")


def mtl_config(root: Path, folder: Path, features: Path) -> MtlConfig:
    """Configure stage 2 for runs below a folder."""
    words = [
        f"data.root={root / 'aff_wild2'}", f"backbone={root / 'backbone.safetensors'}", f"output_dir={folder / 'runs'}",
        f"features.cache_dir={features}", "features.engine=torch", "features.batch_size=16",
        "trainer.max_epochs=2", "calibration.num_folds=2", *QUIET,
    ]  # fmt: skip
    return load_config(MtlConfig, "mtl", words, "demo")


def upscaling(root: Path, folder: Path) -> Mapping[str, object]:
    """Enlarge a folder of faces."""
    options = UpscalingOptions(weights=str(root / "network.pth"), batch_size=2)
    upscale_tree(root / "faces", folder / "large", options, TrainerConfig(accelerator="cpu", progress_bar=False))
    return digests(folder / "large", "*.png")


def finetuning(root: Path, folder: Path) -> Mapping[str, object]:
    """Train the classifier, then everything, and blend."""
    words = [
        f"data.root={root / 'synthetic'}", f"backbone={root / 'backbone.safetensors'}", "data.batch_size=8",
        "preparation.method=lanczos", f"preparation.folder={folder / 'enlarged'}", "stages.classifier.epochs=1",
        "stages.everything.epochs=2", *QUIET,
    ]  # fmt: skip
    return train("synthetic", SyntheticConfig, synthetic, folder, words, "demo")


def train(
    experiment: str, schema: Any, story: Any, folder: Path, words: list[str], recipe: str
) -> Mapping[str, object]:
    """Go on with the run that there is, as its message advises; begin anew if there is none."""
    leave_out_figures()
    place = f"output_dir={folder / 'runs'}"
    try:
        config = load_config(schema, experiment, ["resume=latest", place], recipe)
    except ConfigError:
        # `latest` passes over runs of the recipe named debug.
        config = replace(load_config(schema, experiment, [*words, place], recipe), recipe="tiny")
    story(config)
    return result(folder / "runs" / experiment / "latest")


def leave_out_figures() -> None:
    """Leave out what takes most of a tiny run's time, for the rest of this process."""
    for story in (experiments.pretrain.train, experiments.mtl.train, experiments.synthetic.train):
        story.draw_figures = lambda *arguments: {}  # type: ignore[attr-defined]


def result(run: Path) -> Mapping[str, object]:
    """Return the metrics but for clocks, and digests of all weights."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in metrics.items() if name not in CLOCKS} | digests(run, "*.safetensors")
