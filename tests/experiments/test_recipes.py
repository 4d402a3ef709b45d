"""Every recipe against the schema of its experiment, both found by looking."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

from experiments.config import RECIPES, RunConfig, iterate_keys, load_config, save_config
from experiments.options import REQUIRED

FILES = sorted(RECIPES.glob("*/*.yaml"))


def schema_of(experiment: str) -> type:
    """Find the one dataclass of an experiment's module that configures a whole command."""
    module = importlib.import_module(f"experiments.{experiment}")
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
    required = [
        f"{key}=x" for key, entry in iterate_keys(schema) if entry.default == REQUIRED and key != "recipe"
    ]
    config = load_config(schema, experiment, [f"recipe={path.stem}", *required], None)
    assert config.recipe == path.stem
    save_config(config, tmp_path / "config.yaml")
    again = load_config(schema, experiment, [f"recipe={tmp_path / 'config.yaml'}"], None)
    assert dataclasses.replace(again, recipe=path.stem) == config


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_the_recipe_says_where_it_comes_from(path: Path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("experiment", sorted({path.parent.name for path in FILES}))
def test_every_key_of_an_experiment_has_a_help_line(experiment: str):
    assert not [key for key, entry in iterate_keys(schema_of(experiment)) if not entry.metadata.get("help")]


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
