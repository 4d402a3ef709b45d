"""What stage 3 submits, against labels worked out by hand from networks whose logits do not depend on the image."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiments.runtime.fit
import experiments.synthetic.train
from affect.labels import BACKBONE_EXPRESSIONS, SYNTHETIC_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone, save_backbone
from callbacks.throughput import Throughput
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.runtime.config.load import load_config, save_config
from experiments.runtime.config.options import ConfigError
from experiments.synthetic.blend_report import BlendReport, report_blend
from experiments.synthetic.config import SyntheticConfig
from experiments.synthetic.submit import SubmitConfig, submit
from experiments.synthetic.train import synthetic

ARCHITECTURE = "test_efficientnet.r160_in1k"
WEIGHT = 0.3
"""Of the pre-trained network in every blend here."""


def save_network(path: Path, outputs: tuple[str, ...], logits: dict[str, float] | None = None) -> None:
    """Save a network by chance, or one that gives the same logits for every image; those not named are 0."""
    network = Backbone(ARCHITECTURE, len(outputs))
    if logits is not None:
        torch.nn.init.zeros_(network.classifier.weight)
        network.classifier.bias.data = torch.tensor([float(logits.get(name, 0)) for name in outputs])
    expressions = tuple(name for name in outputs if name not in VALENCE_AROUSAL)
    save_backbone(path, network, BackboneSpec(ARCHITECTURE, 32, (0.5,) * 3, (0.25,) * 3, expressions, outputs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage3")
    write_synthetic_faces(folder / "set", train=30, validation=18, test=3, workers=1)
    torch.manual_seed(0)
    save_network(folder / "backbone.safetensors", (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL))
    return folder


def load(folder: Path, out: Path, *more: str) -> SyntheticConfig:
    words = [
        f"data.root={folder / 'set'}", f"backbone={folder / 'backbone.safetensors'}", f"output_dir={out}",
        "preparation.method=none", "stages.classifier.epochs=1", "stages.everything.epochs=2", "data.batch_size=10",
        "trainer.accelerator=cpu", "trainer.progress_bar=false", "wandb.mode=disabled", *more,
    ]  # fmt: skip
    return load_config(SyntheticConfig, "synthetic", words, "demo")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run that nothing disturbed and that chose WEIGHT; for reading only."""

    def choose(*arguments: object) -> BlendReport:
        return dataclasses.replace(report_blend(*arguments), weight=WEIGHT)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.synthetic.train, "draw_figures", lambda *arguments: {})
        patch.setattr(experiments.synthetic.train, "report_blend", choose)
        synthetic(load(folder, folder / "runs"))
    return (folder / "runs" / "synthetic" / "latest").resolve()


def test_the_blend_file_holds_the_weight_of_the_pretrained_network(folder: Path, run: Path) -> None:
    blend = json.loads((run / "blend.json").read_text())
    assert blend["weight"] == WEIGHT
    assert blend["pretrained_sha256"] == hashlib.sha256((folder / "backbone.safetensors").read_bytes()).hexdigest()


def test_a_class_weighs_the_mean_count_divided_by_its_own(folder: Path, run: Path) -> None:
    """As in the protocol; 1/count divided by the smallest is another scale, which sets the strength of nothing else."""
    # Folders in the official order, whose misspelt names sort like the labels.
    folders = sorted((folder / "set" / "training_set_synthetic_images").iterdir())
    counts = np.array([len(list(path.iterdir())) for path in folders])
    assert len(set(counts.tolist())) > 1
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    np.testing.assert_allclose(checkpoint["hyper_parameters"]["class_weights"], counts.mean() / counts, rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "pretrained", "finetuned", "expected"),
    [
        # .3 x 9 = 2.7 against .7 x 4 = 2.8
        ("logits", {"Surprise": 9}, {"Fear": 4}, "Fear"),
        # 3.0 against 2.8; the other way round, 7 against 1.2
        ("logits", {"Surprise": 10}, {"Fear": 4}, "Surprise"),
        ("logits", {"Disgust": 10, "Anger": 3}, {"Sadness": 4, "Happiness": 1}, "Disgust"),
        # The other way round 6.3 against 1.2.
        ("logits", {"Anger": 9}, {"Happiness": 4}, "Happiness"),
        # .3 x 1 against .7 x e^3 / (e^3 + 5) = .56
        ("probabilities", {"Anger": 30}, {"Sadness": 3}, "Sadness"),
        # .3 x 1 against .7 x e^.5 / (e^.5 + 5) = .17
        ("probabilities", {"Happiness": 30}, {"Sadness": 0.5}, "Happiness"),
    ],
)
def test_the_submission_blends_as_worked_out_by_hand(
    folder: Path, run: Path, tmp_path: Path, space: str, pretrained: dict, finetuned: dict, expected: str
) -> None:
    # Outputs that are none of the six classes are the largest: taking any of them gives another label.
    distractors = dict.fromkeys(("Contempt", "Neutral", *VALENCE_AROUSAL), 50.0)
    save_network(
        tmp_path / "pretrained.safetensors",
        (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL),
        pretrained | distractors,
    )
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    save_network(copy / "finetuned.safetensors", tuple(SYNTHETIC_EXPRESSIONS), finetuned)
    blend = json.loads((copy / "blend.json").read_text())
    path = tmp_path / "pretrained.safetensors"
    blend |= {"weight": WEIGHT, "space": space, "pretrained": str(path)}
    blend["pretrained_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copy / "blend.json").write_text(json.dumps(blend))
    config = load_config(SubmitConfig, "synthetic_submit", [f"run={copy}"], str(copy / "config.yaml"))
    lines = submit(config).read_text().splitlines()
    order = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")  # the challenge's labels 0 to 5
    assert [line.split(",")[1] for line in lines[1:]] == [str(order.index(expected))] * 3


class Stop(Exception):
    """Stands for whatever kills a run."""


Step = tuple[bool, int, int]
"""Whether the encoder is frozen, epoch, batch."""


def record_steps(monkeypatch: pytest.MonkeyPatch, last: Step | None) -> list[Step]:
    """Return a list that fills with the steps a run takes; it is killed after the last."""
    steps: list[Step] = []

    class Recorder(Throughput):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, data: Any, batch_idx: int) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, data, batch_idx)
            steps.append((pl_module.encoder_frozen, trainer.current_epoch, batch_idx))
            if steps[-1] == last:
                raise Stop

    monkeypatch.setattr(experiments.runtime.fit, "Throughput", Recorder)
    return steps


@pytest.mark.parametrize(
    ("frozen", "epoch"), [(True, 0), (False, 1), (False, 2)],
    ids=["the classifier trains", "first epoch of fine-tuning", "second epoch of fine-tuning"],
)  # fmt: skip
def test_a_run_killed_and_resumed_ends_like_one_that_ran_through(
    folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool, epoch: int
) -> None:
    monkeypatch.setattr(experiments.synthetic.train, "draw_figures", lambda *arguments: {})
    steps = record_steps(monkeypatch, (frozen, epoch, 1))
    with pytest.raises(Stop):
        synthetic(load(folder, tmp_path))
    torch.rand(17)  # another process's random state
    steps = record_steps(monkeypatch, None)
    words = ["resume=latest", f"output_dir={tmp_path}"]
    synthetic(load_config(SyntheticConfig, "synthetic", words, "demo"))
    assert steps[0] == (frozen, epoch, 0), "no epoch that was finished is done twice"

    (found,) = [path for path in (tmp_path / "synthetic").iterdir() if not path.is_symlink()]
    ours, theirs = (load_backbone(path / "finetuned.safetensors")[0].state_dict() for path in (found, run))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (found, run)]
    for values in metrics:
        for name in ("wall_seconds", "train/images_per_second"):
            values.pop(name, None)
    assert metrics[0] == metrics[1]


def test_a_stopped_run_of_the_version_with_two_fits_is_not_begun_anew(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "synthetic" / "2026-01-01_00-00-00"
    (old / "classifier_only" / "checkpoints").mkdir(parents=True)
    save_config(load(folder, tmp_path), old / "config.yaml")
    with pytest.raises(ConfigError, match="classifier_only is of a version that trained in two fits"):
        synthetic(load_config(SyntheticConfig, "synthetic", [f"resume={old}"], "demo"))
