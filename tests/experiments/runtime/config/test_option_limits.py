"""Every number of every command has a range, every closed choice its choices, and both are enforced."""

import importlib
import re
import typing
from typing import Any

import pytest

from experiments.runtime.config.load import RECIPES, load_config
from experiments.runtime.config.options import ConfigError, Option, iterate_options, option_value
from experiments.runtime.config.values import _unwrapped, to_text

COMMANDS = {
    "pretrain.train_identity": "FacesConfig", "pretrain.train": "PretrainConfig", "mtl.train": "MtlConfig",
    "mtl.submit": "MtlSubmitConfig", "mtl.train_baseline": "MtlBaselineConfig", "synthetic.train": "SyntheticConfig",
    "synthetic.submit": "SubmitConfig", "synthetic.ablate": "AblationConfig", "upscale": "UpscalingConfig",
    "validate_submission": "ValidationConfig", "demo_seeds": "DemoSeedsConfig", "predict.predict": "PredictConfig",
    "import_model": "ImportConfig", "export.export": "ExportConfig", "export.check": "CheckConfig",
    "models": "ModelsConfig", "check_data.check": "CheckConfig",
}  # fmt: skip
RECIPE = {
    "pretrain.train_identity": "faces", "pretrain.train": "pretrain", "mtl.train": "mtl", "mtl.submit": "mtl",
    "mtl.train_baseline": "mtl_baseline", "synthetic.train": "synthetic", "synthetic.submit": "synthetic",
    "synthetic.ablate": "synthetic", "upscale": "upscaling", "validate_submission": None, "demo_seeds": None,
    "predict.predict": None, "import_model": None, "export.export": None, "export.check": None, "models": None,
    "check_data.check": None,
}  # fmt: skip
"""Folder of the recipes of each command."""

OPEN = {"published"}
"""Numbers without a range: those of papers, shown and nothing else."""


def schema_of(command: str) -> type:
    return getattr(importlib.import_module(f"experiments.{command}"), COMMANDS[command])


def element_type(entry: Option) -> Any:
    kind, _ = _unwrapped(entry.type)
    return typing.get_args(kind)[-1] if typing.get_origin(kind) in (list, dict) else kind


OPTIONS = {entry.key: entry for command in COMMANDS for entry in iterate_options(schema_of(command))}
NUMBERS = [(command, entry) for command in COMMANDS for entry in iterate_options(schema_of(command))
           if element_type(entry) in (int, float) and entry.key not in OPEN]  # fmt: skip
CHOICES = [(command, entry) for command in COMMANDS for entry in iterate_options(schema_of(command))
           if entry.limits.choices]  # fmt: skip


def test_the_list_of_commands_is_complete() -> None:
    root = RECIPES.parent
    found = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py") if re.search(r"run_(experiment|on_finished_run)\(", path.read_text())
    }  # fmt: skip
    assert found - {"runtime.command_line", "mtl.ablate"} == set(COMMANDS)  # mtl.ablate takes the keys of mtl


@pytest.mark.parametrize(("command", "entry"), NUMBERS, ids=lambda value: getattr(value, "key", value))
def test_every_number_has_a_range_that_holds_its_default(command: str, entry: Option) -> None:
    assert str(entry.limits), f"{command}: {entry.key}"
    values = option_value(schema_of(command)(), entry.key)
    if isinstance(values, dict):
        values = list(values.values())
    for value in values if isinstance(values, list) else [values]:
        assert value is None or entry.limits.allows(value)


def load(command: str, word: str) -> Any:
    """Load a command's configuration, with something for what is required, and one more word."""
    entries = [entry for entry in iterate_options(schema_of(command)) if entry.required and entry.key != "recipe"]
    needed = [f"{entry.key}={entry.limits.choices[0] if entry.limits.choices else 'x'}" for entry in entries]
    folder = RECIPE[command]
    recipe = folder and str(RECIPES / folder / "demo.yaml")
    return load_config(schema_of(command), command, [*needed, word], recipe)


@pytest.mark.parametrize(("command", "entry"), NUMBERS, ids=lambda value: getattr(value, "key", value))
def test_a_number_outside_its_range_is_refused_with_key_value_and_range(command: str, entry: Option) -> None:
    limits, kind = entry.limits, element_type(entry)
    outside = [limits.ge - 1 if limits.ge is not None else limits.gt]
    outside += [bound + (bound is limits.le) for bound in (limits.le, limits.lt) if bound is not None]
    for number in outside:
        text = to_text(kind(number))
        origin = typing.get_origin(_unwrapped(entry.type)[0])
        word = f"[{', '.join([text] * (limits.length or 1))}]" if origin is list else text
        word = f"{{expression: {text}}}" if origin is dict else word
        with pytest.raises(ConfigError) as caught:
            load(command, f"{entry.key}={word}")
        message = str(caught.value)
        assert message.startswith(entry.key)
        assert str(limits) in message
        assert message.endswith(f"not {float(text):g}" if kind is float else f"not {text}")


@pytest.mark.parametrize(("command", "entry"), CHOICES, ids=lambda value: getattr(value, "key", value))
def test_a_choice_is_one_of_those_named(command: str, entry: Option) -> None:
    for choice in entry.limits.choices:
        assert option_value(load(command, f"{entry.key}={choice}"), entry.key) == choice
    with pytest.raises(
        ConfigError, match=rf"^{entry.key} must be one of {', '.join(entry.limits.choices)}, not 'magic'"
    ):
        load(command, f"{entry.key}=magic")


@pytest.mark.parametrize(
    ("command", "word", "message"),
    [
        ("synthetic.train", "data.jitter=[0.3, 0.3]", "data.jitter must hold 4 values, not 2"),
        ("synthetic.train", "data.jitter=[0.3, 0.3, 0.3, 0.6]", "data.jitter: the change of hue must be at most 0.5"),
        ("pretrain.train", "trainer.devices=0", "trainer.devices must be auto or a number from 1"),
        ("pretrain.train", "trainer.devices=0,1", "trainer.devices must be auto or a number from 1 to 1024, not '0,1'"),
        ("pretrain.train", "trainer.devices=99999999999", "trainer.devices must be auto or a number from 1 to 1024"),
        ("pretrain.train", "trainer.devices=٣", "trainer.devices must be auto or a number from 1 to 1024"),
        ("pretrain.train", "wandb.project=a/b", "wandb.project=a/b: W&B takes 1 to 128 characters"),
        ("pretrain.train", "wandb.project=", "wandb.project=: W&B takes 1 to 128 characters"),
        ("pretrain.train", "data.root=", "data.root is empty"),
        ("pretrain.train", "output_dir=", "output_dir is empty"),
        ("pretrain.train", "trainer.devices=-1", "trainer.devices must be auto or a number from 1"),
        ("pretrain.train", "trainer.limit_train_batches=1.5", "trainer.limit_train_batches must be a share below 1"),
        ("pretrain.train", "trainer.precision=16-mixed", "trainer.precision must be one of 32-true, bf16-mixed"),
        ("pretrain.train", "data.batch_size=1", "data.batch_size must be at least 2, not 1"),
    ],
)  # fmt: skip
def test_other_limits(command: str, word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(command, word)
    assert str(caught.value).startswith(message)


def test_options_that_name_files_expand_the_home_folder() -> None:
    """A new option whose name or help sounds like a path has to be marked as one."""
    names = (
        "root",
        "dir",
        "backbone",
        "weights",
        "output",
        "source",
        "destination",
        "run",
        "resume",
        "recipe",
    )
    text = {key for key, entry in OPTIONS.items() if element_type(entry) is str and not entry.limits.choices}
    help_lines = {key: entry.field.metadata["help"] for key, entry in OPTIONS.items()}
    sounds = {key for key in text if key.endswith(names) or re.search("folder|file", help_lines[key])}
    assert {key for key in sounds if not OPTIONS[key].is_path} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_in_words(command: str) -> None:
    for key, entry in ((entry.key, entry.field) for entry in iterate_options(schema_of(command))):
        text = entry.metadata["help"]
        assert len(text.split()) >= 3, key
        assert not text.startswith("of "), key
