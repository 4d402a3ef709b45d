"""The submission file of stage 3: the test list's faces, judged by the blend that a run chose.

    python -m experiments.synthetic.submit [run=runs/synthetic/latest] [key=value ...]

Writes to `runs/synthetic_submit/<time>`. Keys of that run may be given again, for instance data.root, except those of
its training. Test faces are prepared as the run's validation faces were. With data.on_corrupt=skip, a face that cannot
be read takes the mean scores of the others.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from affect.calibration.network_blend import SPACES, blend_scores
from affect.errors import InvalidFileError
from affect.labels import SYNTHETIC_EXPRESSIONS, index_map
from affect.metrics import ExpressionMetrics
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone
from affect.storage.fingerprint import file_digest
from affect.storage.json_file import json_content, read_json
from affect.submissions.lsd import write_lsd_submission
from datamodules.synthetic_faces import (
    TEST_FOLDER,
    TEST_LIST,
    SyntheticFacesDataModule,
    read_test_list,
    read_truth,
)
from experiments.runtime.backbone_choice import resolve_backbone
from experiments.runtime.command_line import run_on_finished_run
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.config.options import ConfigError, option
from experiments.runtime.demo_set import ensure_demo_data
from experiments.runtime.run import Run
from experiments.runtime.skipped_images import check_images, list_skipped
from experiments.runtime.trainer import build_trainer
from experiments.synthetic.config import SyntheticConfig
from experiments.synthetic.prepare_faces import prepare_faces
from lightning_modules.ensemble import EnsembleModule

TRUTH: Final = "test_set_labels.txt"
"""Labels of the test list, which only the demo set has; if the file exists, predictions are scored."""
TRAINING_KEYS = ("stages", "optimizer", "sam_everything", "start_from_pretrained")
_log = logging.getLogger("experiments.synthetic.submit")


@dataclass
class SubmitConfig(SyntheticConfig):
    """The run's own configuration, and the run."""

    run: str = option(
        "runs/synthetic/latest", "run folder of stage 3 whose networks and blending weight predict", path=True
    )
    output: str | None = option(None, "file to write; null: predictions.txt in the run folder", path=True)


@json_content
@dataclass(frozen=True)
class Blend:
    """Content of a run's `blend.json`.

    Attributes:
        weight: Weight of the pre-trained network's scores, in [0, 1].
        space: Kind of scores that are blended, one of `affect.calibration.network_blend.SPACES`.
        pretrained: Path of the pre-trained network's file when the run was made.
        pretrained_sha256: Its digest.

    Raises:
        ValueError: If a value is out of range.
    """

    weight: float
    space: str
    pretrained: str
    pretrained_sha256: str

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], got {self.weight}")
        if self.space not in SPACES:
            raise ValueError(f"space must be one of {SPACES}, got {self.space!r}")
        if not re.fullmatch("[0-9a-f]{64}", self.pretrained_sha256):
            raise ValueError("pretrained_sha256 must be 64 hexadecimal digits")


def submit(config: SubmitConfig) -> Path:
    """Write the submission file and return its path.

    Raises:
        ConfigError: If the run folder is incomplete, or its pre-trained network is not to be found.
        AnnotationError: If the test list or its labels are malformed.
        UnreadableImageError: If a listed image cannot be read and `data.on_corrupt` is not `skip`.
    """
    ensure_demo_data("synthetic", config.data.root)
    folder = Path(config.run).resolve()
    if not (folder / "blend.json").is_file():
        raise ConfigError(f"{folder} is no finished run of stage 3; `make synthetic` makes one")
    blend = read_json(folder / "blend.json", Blend, "`make synthetic` writes it")
    pretrained, pretrained_spec = load_backbone(find_pretrained(config, blend))
    finetuned, spec = load_backbone(folder / "finetuned.safetensors")
    rows = outputs_for(pretrained_spec.outputs, spec, folder)

    # One process writes one file, however many trained the network.
    config = replace(config, trainer=replace(config.trainer, devices="1", num_nodes=1, strategy="auto"))
    data = build_test_data(config, spec)
    data.setup("predict")
    listed = data.datasets["predict"].names.tolist()
    truth = read_truth(Path(config.data.root, TRUTH), listed)
    run = Run("synthetic_submit", config, config.data.root)
    check_images(data, run.folder)
    names, first, second = predict([pretrained, finetuned], data, config.trainer)
    scores = in_list_order(listed, names, blend_scores(first[:, rows], second, blend.weight, blend.space))

    path = Path(config.output) if config.output else run.folder / "predictions.txt"
    write_lsd_submission(path, listed, scores)
    if list_skipped(data.skipped, run.folder):
        _log.warning("images that could not be read take the mean scores of the others")
    _log.info("%s: %d rows, valid; %.1f pre-trained on %s", path, len(listed), blend.weight, blend.space)
    metrics: dict[str, float] = {"test/rows": len(listed), "test/missing": len(data.skipped)}
    if truth is not None:
        metrics |= score_truth(scores, truth, spec.outputs)
        f1 = metrics.get("test/expression_f1", np.nan)
        _log.info("macro F1 on the test list, whose labels this set has: %.4f", f1)
    digests = {
        "backbone_sha256": blend.pretrained_sha256,
        "finetuned_sha256": file_digest(folder / "finetuned.safetensors"),
    }
    run.finish(metrics, {"run": str(folder), **digests}, path)
    return path


def predict(
    networks: Sequence[Backbone], data: SyntheticFacesDataModule, trainer: TrainerConfig
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of the test images that could be read, and both networks' outputs for them."""
    loop = build_trainer(trainer, logger=False, enable_checkpointing=False)
    batches: list[Any] = loop.predict(EnsembleModule(networks), data) or []
    names = [name for batch in batches for name in batch[0]]
    first, second = (torch.cat([batch[1][number] for batch in batches]).numpy() for number in range(2))
    return names, first, second


def outputs_for(outputs: Sequence[str], spec: BackboneSpec, folder: Path) -> np.ndarray:
    """Return the positions of the six synthetic classes among the pre-trained network's outputs, shape (6,).

    Raises:
        InvalidFileError: If the run's network has other outputs, or the pre-trained one lacks a class.
    """
    if spec.outputs != SYNTHETIC_EXPRESSIONS:
        raise InvalidFileError(
            f"{folder / 'finetuned.safetensors'} has the outputs {', '.join(spec.outputs)}, not "
            f"{', '.join(SYNTHETIC_EXPRESSIONS)}"
        )
    try:
        return index_map(spec.outputs, outputs)
    except ValueError as error:
        raise InvalidFileError(f"the pre-trained network lacks outputs: {error}") from error


def score_truth(scores: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Score submitted classes, shape (N, C), against labels, shape (N,), -1 where missing; names begin with `test/`."""
    metrics = ExpressionMetrics(classes)
    metrics.update(torch.from_numpy(scores), torch.from_numpy(truth))
    return {f"test/{name}": float(value) for name, value in metrics.compute().items()}


def find_pretrained(config: SubmitConfig, blend: Blend) -> Path:
    """Find the network that was blended with: where it was, or where `backbone` says.

    Raises:
        ConfigError: If neither is that network.
    """
    for wanted in (blend.pretrained, config.backbone):
        path = Path(resolve_backbone(wanted))
        if path.is_file() and file_digest(path) == blend.pretrained_sha256:
            return path
    raise ConfigError(
        f"neither {blend.pretrained} nor backbone={config.backbone} is the network that the run {config.run} was "
        "blended with"
    )


def build_test_data(config: SubmitConfig, spec: BackboneSpec) -> SyntheticFacesDataModule:
    """Load the test faces as the weight was chosen: enlarged if the validation faces were."""
    images = Path(config.data.test_images or Path(config.data.root, TEST_FOLDER))
    copies = {}
    if config.preparation.validation:
        listed = read_test_list(Path(config.data.root, TEST_LIST))
        copies["predict"] = prepare_faces(images, listed, config.preparation, config.trainer, config.data.on_corrupt)
    return SyntheticFacesDataModule(
        **asdict(config.data), copies=copies, image_size=spec.image_size, mean=spec.mean, std=spec.std
    )


def in_list_order(listed: Sequence[str], names: Sequence[str], scores: np.ndarray) -> np.ndarray:
    """Assign a row of scores, shape (C,), to every listed image; one without scores has the mean of the others'."""
    rows = {name: row for row, name in enumerate(names)}
    mean = scores.mean(0)
    return np.stack([scores[rows[name]] if name in rows else mean for name in listed])


if __name__ == "__main__":
    run_on_finished_run(SubmitConfig, "synthetic_submit", submit, "synthetic", TRAINING_KEYS)
