"""The submission file of stage 3: the test list's faces, judged by the blend that a run chose.

python -m experiments.synthetic_submit [run=runs/synthetic/latest] [key=value ...]
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from affect.backbone_file import file_digest, load_backbone
from affect.backbones import Backbone
from affect.blending import blend_scores
from affect.labels import index_map
from affect.lsd_submission import write_lsd_submission
from datamodules.synthetic_faces import SyntheticFacesDataModule
from experiments.command_line import run_experiment
from experiments.config import ConfigError, TrainerConfig, load_config, option
from experiments.runner import build_trainer
from experiments.synthetic_config import SyntheticConfig
from experiments.tables import say
from lightning_modules.finetuning import FinetuningModule


@dataclass
class SubmitConfig:
    """Everything that can be set."""

    run: str = option("runs/synthetic/latest", "run folder of stage 3")
    root: str | None = option(None, "folder of the set; by default the run's own")
    test_images: str | None = option(None, "folder of the test images; by default the run's own")
    output: str | None = option(None, "file to write; by default submission.txt in the run folder")
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def submit(config: SubmitConfig) -> Path:
    """Write the submission file and return its path.

    Raises:
        ConfigError: If the run folder is incomplete, or its pre-trained network has changed since.
    """
    folder = Path(config.run)
    if not (folder / "blend.json").is_file():
        raise ConfigError(f"{folder} is no finished run of stage 3; `make synthetic` makes one")
    trained = load_config(SyntheticConfig, "synthetic", [f"recipe={folder / 'config.yaml'}"], None)
    blend = json.loads((folder / "blend.json").read_text(encoding="utf-8"))
    if file_digest(blend["pretrained"]) != blend["pretrained_sha256"]:
        raise ConfigError(f"{blend['pretrained']} is not the network that {folder} was blended with any more")

    finetuned, spec = load_backbone(folder / "finetuned.safetensors")
    pretrained, pretrained_spec = load_backbone(blend["pretrained"])
    data = SyntheticFacesDataModule(
        root=config.root or trained.data.root, test_images=config.test_images or trained.data.test_images, jitter=None,
        image_size=spec.image_size, mean=spec.mean, std=spec.std, batch_size=trained.data.batch_size,
        num_workers=trained.data.num_workers,
    )  # fmt: skip
    trainer = build_trainer(config.trainer, devices=1, logger=False, enable_checkpointing=False)
    rows = index_map(spec.outputs, pretrained_spec.outputs)
    first, names = predict_logits(trainer, pretrained, data)
    second, _ = predict_logits(trainer, finetuned, data)
    path = Path(config.output) if config.output else folder / "submission.txt"
    scores = blend_scores(first[:, rows], second, blend["weight"], blend["space"])
    write_lsd_submission(path, names, scores)
    say(f"{len(names)} images, {blend['weight']:.1f} pre-trained on {blend['space']}: {path}, validated")
    return path


def predict_logits(
    trainer: pl.Trainer, backbone: Backbone, data: SyntheticFacesDataModule
) -> tuple[np.ndarray, list[str]]:
    """Compute outputs, shape (N, K), of the test images, and their names, both in list order."""
    module = FinetuningModule(backbone.architecture, [str(index) for index in range(backbone.num_outputs)])
    module.backbone.load_state_dict(backbone.state_dict())
    batches = trainer.predict(module, data) or []
    names = [name for batch in batches for name in batch[0]]
    return torch.cat([batch[1] for batch in batches]).numpy(), names


def main() -> None:
    """Run from the command line."""
    run_experiment(SubmitConfig, "synthetic_submit", submit, default_recipe=None)


if __name__ == "__main__":
    main()
