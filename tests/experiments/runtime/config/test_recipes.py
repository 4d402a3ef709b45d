"""Every recipe against the schema of its experiment, both found by looking."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

from experiments.mtl.config import MtlConfig
from experiments.runtime.config.load import RECIPES, RunConfig, load_config, save_config
from experiments.runtime.config.options import iterate_options
from experiments.synthetic.config import SyntheticConfig

MODULES = {
    "faces": "pretrain.train_identity", "pretrain": "pretrain.train", "mtl": "mtl.train",
    "mtl_baseline": "mtl.train_baseline", "synthetic": "synthetic.train", "upscaling": "upscale",
}  # fmt: skip
"""The command of each folder of recipes."""

FILES = sorted(RECIPES.glob("*/*.yaml"))


def schema_of(experiment: str) -> type:
    """Find the one dataclass of an experiment's module that configures a whole command."""
    module = importlib.import_module(f"experiments.{MODULES[experiment]}")
    found = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value is not RunConfig
        and (issubclass(value, RunConfig) or any(entry.name == "recipe" for entry in dataclasses.fields(value)))
    }  # fmt: skip
    assert len(found) == 1, f"experiments.{experiment} should use one configuration, found {found}"
    return found.pop()


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_the_recipe_fits_its_schema_and_survives_being_saved(path: Path, tmp_path: Path):
    experiment = path.parent.name
    schema = schema_of(experiment)
    required = [f"{entry.key}=x" for entry in iterate_options(schema) if entry.required and entry.key != "recipe"]
    config = load_config(schema, experiment, [f"recipe={path.stem}", *required], None)
    assert config.recipe == path.stem
    save_config(config, tmp_path / "config.yaml")
    again = load_config(schema, experiment, [f"recipe={tmp_path / 'config.yaml'}"], None)
    assert dataclasses.replace(again, recipe=path.stem) == config


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_the_recipe_begins_with_its_source(path: Path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("experiment", sorted({path.parent.name for path in FILES}))
def test_every_key_of_an_experiment_has_a_help_line(experiment: str):
    assert not [key for key, _, entry in iterate_options(schema_of(experiment)) if not entry.metadata.get("help")]


def test_the_papers_recipe_holds_the_papers_values():
    recipe = yaml.safe_load((RECIPES / "pretrain" / "paper.yaml").read_text())
    assert recipe["stages"] == {
        "classifier": {"epochs": 3, "learning_rate": 1e-3},
        "everything": {"epochs": 6, "learning_rate": 1e-4},
    }
    assert recipe["data"] == {"image_size": 224, "batch_size": 48, "flip": 0.0}
    assert recipe["model"]["architecture"] == "tf_efficientnet_b0.ns_jft_in1k"
    assert recipe["optimizer"] == {"sam_rho": 0.05, "class_weights": True}
    assert recipe["published"]["val/expression_accuracy"] == 0.6193


def test_the_papers_heads_have_the_papers_values_and_no_later_step():
    config = load_config(MtlConfig, "mtl", ["recipe=paper"], None)
    heads = config.heads
    assert (heads.network, heads.inputs, heads.num_hidden) == ("slice", "both", 128)
    assert (heads.learning_rate, heads.l2, heads.joint_l2) == (1e-3, 1 / 512, 1 / 256)
    assert (heads.batch_size, heads.joint_batch_size) == (512, 256)
    assert heads.epochs_by_group("slice") == {"expression": 10, "valence_arousal": 20, "action_units": 10}
    assert heads.epochs_by_group("joint") == {"joint": 20}
    assert heads.epochs_by_group("slice", refit=True) == {
        "expression": 1, "valence_arousal": 8, "action_units": 3
    }  # fmt: skip
    assert heads.epochs_by_group("joint", refit=True) == {"joint": 1}
    assert all(smoothing.window == 0 for smoothing in config.calibration.smoothing().values())
    assert (config.calibration.thresholds, config.calibration.log_bias) == ("grid", False)
    assert not {"val/mtl_score@smoothed", "val/mtl_score@calibrated"} & set(config.published)


def test_the_calibrated_recipe_is_the_papers_with_later_steps():
    paper = load_config(MtlConfig, "mtl", ["recipe=paper"], None)
    calibrated = load_config(MtlConfig, "mtl", ["recipe=calibrated"], None)
    assert calibrated.heads == paper.heads
    assert calibrated.calibration.expression.neighbours == 100
    assert calibrated.calibration.log_bias
    assert calibrated.published.items() > paper.published.items()


def test_fast_synthetic_is_the_papers_but_for_the_engine():
    paper = load_config(SyntheticConfig, "synthetic", ["recipe=paper"], None)
    fast = load_config(SyntheticConfig, "synthetic", ["recipe=fast"], None)
    assert (paper.preparation.upscaling.engine, paper.preparation.upscaling.face_enhancer) == (
        "realesrgan", "gfpgan-v1.3"
    )  # fmt: skip
    upscaling = dataclasses.replace(paper.preparation.upscaling, engine="batched", face_enhancer=None)
    preparation = dataclasses.replace(paper.preparation, upscaling=upscaling)
    assert dataclasses.replace(fast, recipe="paper") == dataclasses.replace(paper, preparation=preparation)
