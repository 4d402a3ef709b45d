"""Stage 1 on own data: the commands of docs/own_data.md, and networks with other outputs through the later stages."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from affect.labels import SYNTHETIC_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone, save_backbone
from datamodules.readers.annotation_errors import AnnotationError
from experiments.mtl.config import MtlConfig
from experiments.mtl.train import mtl
from experiments.pretrain.own_data import choose_layout
from experiments.pretrain.train import PretrainConfig, pretrain
from experiments.runtime.config.load import load_config
from experiments.runtime.config.options import ConfigError
from experiments.synthetic.config import SyntheticConfig
from experiments.synthetic.train import load_pretrained
from tests.conftest import write_jpeg

PAGE = Path(__file__).parents[3] / "docs" / "own_data.md"
COMMANDS = re.findall(r"^make pretrain (.+?)(?:   #.*)?$", PAGE.read_text(), re.M)
TINY = [
    "data.image_size=32", "data.batch_size=8", "data.num_workers=0", "model.architecture=test_efficientnet.r160_in1k",
    "model.weights=none", "stages.classifier.epochs=1", "stages.everything.epochs=1", "trainer.accelerator=cpu",
    "trainer.progress_bar=false", "wandb.mode=disabled",
]  # fmt: skip


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sets of the page, as small drawings, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        label, person = ("anger", "joy", "neutral", "sad")[number % 4], f"p{number // 4}"
        split = "val" if number >= 28 else "train"
        image = np.full((32, 32, 3), 60 * (number % 4), np.uint8)
        image[: 8 + number % 16] += 20
        for name in (
            f"photos/{split}/{label}/{number}.jpg", f"people/{label}/{person}_{number}.jpg",
            f"subfolders/{label}/{person}/{number}.jpg", f"listed/images/{number}.jpg",
            f"renamed/images/{number}.jpg", f"numbered/{split}/{number % 4}/{number}.jpg",
        ):  # fmt: skip
            write_jpeg(tmp_path / name, image)
    numbers = range(40)
    table = pd.DataFrame({
        "path": [f"images/{number}.jpg" for number in numbers],
        "expression": [("anger", "joy", "neutral", "sad")[number % 4] for number in numbers],
        "valence": [number % 4 / 2 - 0.7 for number in numbers],
        "split": ["val" if number >= 28 else "train" for number in numbers],
        "person": [f"p{number // 4}" for number in numbers],
    })  # fmt: skip
    table.to_csv(tmp_path / "listed" / "labels.csv", index=False)
    renamed = table.assign(path=table["path"].str.removeprefix("images/")).drop(columns=["valence", "split"])
    renamed["expression"] = [-1 if number % 7 == 0 else number % 4 for number in numbers]
    renamed = renamed.set_axis(["file", "emotion", "subject"], axis=1)
    renamed.to_csv(tmp_path / "renamed" / "labels.csv", index=False)
    return tmp_path


def run(*words: str) -> tuple[dict[str, float], Path]:
    config = load_config(PretrainConfig, "pretrain", [*words, *TINY, "output_dir=runs"], "demo")
    metrics = pretrain(config)
    return metrics, Path("runs/pretrain/latest").resolve()


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 7


@pytest.mark.usefixtures("sets", "no_figures")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command: str) -> None:
    variables = dict(word.split("=", 1) for word in shlex.split(command))
    assert variables["RECIPE"] == "demo"
    words = shlex.split(variables.get("ARGS", ""))
    load_config(PretrainConfig, "pretrain", words, "demo")
    metrics, folder = run(f"data.root={variables['DATA']}", *words)
    assert 0 <= metrics["val/expression_accuracy"] <= 1
    _, spec = load_backbone(folder / "backbone.safetensors")
    numbered = {"numbered": ("0", "Fear", "Surprise"), "renamed": ("0", "1", "2", "3")}
    assert spec.expressions == numbered.get(variables["DATA"], ("anger", "joy", "neutral", "sad"))
    dimensions = ("Valence",) if variables["DATA"] == "listed" else ()
    assert spec.outputs == (*spec.expressions, *dimensions)
    assert ("val/valence_rmse" in metrics) == bool(dimensions)
    assert not [name for name in metrics if "arousal" in name]


@pytest.mark.usefixtures("sets")
def test_a_network_of_valence_alone_has_its_figures_and_goes_through_stage_2(
    aff_wild2: Path, words: Callable[..., list[str]]
) -> None:
    metrics, folder = run("data.root=listed", "data.columns.expression=null")
    assert metrics["val/ccc"] == metrics["val/valence_ccc"]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"training_curves.png", "valence_arousal.png"}
    assert load_backbone(folder / "backbone.safetensors")[1].outputs == ("Valence",)
    more = [
        f"backbone={folder / 'backbone.safetensors'}",
        "heads.epochs.valence_arousal=1",
        "heads.epochs.expression=1",
    ]
    scores = mtl(load_config(MtlConfig, "mtl", words(*more), "demo"))
    assert "val/mtl_score" in scores


@pytest.mark.usefixtures("sets")
def test_names_with_odd_characters_survive_every_file(sets: Path) -> None:
    odd = ["[bold]", r"$\frac$", "a,b", "été_step"]
    for split in ("train", "val"):
        for old, new in zip(("anger", "joy", "neutral", "sad"), odd, strict=True):
            (sets / "photos" / split / old).rename(sets / "photos" / split / new)
    _, folder = run("data.root=photos")
    assert {f"val/expression_f1/{name}" for name in odd} < set(json.loads((folder / "metrics.json").read_text()))
    assert {f"val/expression_f1/{name}" for name in odd} < set(pd.read_csv(folder / "history.csv"))
    log = (folder / "run.log").read_text()
    assert all(name in log for name in odd)
    assert cv2.imread(str(folder / "figures" / "confusion_matrix.png")) is not None


def test_stage_3_names_the_classes_that_it_lacks(tmp_path: Path, tiny_architecture: str) -> None:
    names = ("Angry", "Happy")
    spec = BackboneSpec(tiny_architecture, 32, (0.5,) * 3, (0.5,) * 3, names, (*names, *VALENCE_AROUSAL))
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, Backbone(tiny_architecture, 4), spec)
    config = load_config(SyntheticConfig, "synthetic", [f"backbone={path}"], "demo")
    with pytest.raises(ConfigError, match=r"has no logit of Anger, .*Surprise.* are Angry, Happy.*rename\.anger=Anger"):
        load_pretrained(config)
    names = (*SYNTHETIC_EXPRESSIONS[::-1], "boredom")
    spec = BackboneSpec(tiny_architecture, 32, (0.5,) * 3, (0.5,) * 3, names, names)
    save_backbone(path, Backbone(tiny_architecture, 7), spec)
    assert load_pretrained(config).spec.expressions == names


@pytest.mark.usefixtures("sets")
def test_auto_finds_each_layout(affectnet_csv: Path, affectnet_npy: Path, sets: Path) -> None:
    found = {str(root): choose_layout(Path(root), "auto") for root in ("photos", "people", "listed")}
    assert found == {"photos": "folders", "people": "folders", "listed": "table"}
    assert choose_layout(affectnet_csv, "auto") == "csv"
    assert choose_layout(affectnet_npy, "auto") == "npy"
    (sets / "nothing").mkdir()
    with pytest.raises(AnnotationError, match=r"does not hold AffectNet.*docs/own_data\.md"):
        choose_layout(sets / "nothing", "auto")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.person_pattern=(", r"data\.person_pattern=\( is no regular expression"),
        ("data.val_fraction=1", "data.val_fraction must be"),
        ("data.split_by=day", "data.split_by must be one of given, person, file"),
    ],
)
def test_options_are_checked(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(PretrainConfig, "pretrain", [word], "demo")


def test_a_class_with_a_single_image_is_kept_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng: Any = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(10):
            write_jpeg(tmp_path / "set" / name / f"{name}{number}.jpg", rng.integers(0, 256, (32, 32, 3), np.uint8))
    write_jpeg(tmp_path / "set" / "c" / "c.jpg", rng.integers(0, 256, (32, 32, 3), np.uint8))
    with pytest.warns(UserWarning, match="no validation image shows c"):
        metrics, _ = run("data.root=set", "data.split_by=file")
    assert metrics["val/expression_f1/c"] == 0
