import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

import experiments.runtime.config.load
from experiments.runtime.config.load import (
    RunConfig,
    load_config,
    parse_command_line,
    resumed_folder,
    save_config,
)
from experiments.runtime.config.options import REQUIRED, ConfigError, option


@dataclass
class Data:
    root: str = option("data", "folder")
    size: int = option(224, "pixels")
    rate: float = option(0.5, "share")
    flip: bool = option(False, "mirror")
    parts: list[str] = option(["a"], "names")
    limit: int | None = option(None, "at most")


@dataclass
class Schema(RunConfig):
    data: Data = field(default_factory=Data)
    published: dict[str, float] = option({}, "values by metric")


@pytest.fixture(autouse=True)
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recipes" / "test"
    folder.mkdir(parents=True)
    (folder / "demo.yaml").write_text("data:\n  size: 96\n  rate: 1\npublished:\n  val/f1: 0.5\n")
    (folder / "paper.yaml").write_text("data: {size: 112}\n")
    (folder / "empty.yaml").write_text("# nothing departs from the defaults\n")
    monkeypatch.setattr(experiments.runtime.config.load, "RECIPES", tmp_path / "recipes")
    return folder


def load(*words: str) -> Schema:
    return load_config(Schema, "test", words, "demo")


def test_the_command_line_goes_before_the_recipe_and_that_before_the_defaults():
    config = load("data.rate=0.25", "data.parts=[x,y]", "data.limit=3", "seed=7", "data.flip=true")
    assert config.data == Data("data", 96, 0.25, True, ["x", "y"], 3)
    assert config.seed == 7
    assert config.recipe == "demo"
    assert config.published == {"val/f1": 0.5}
    assert load("recipe=paper").data.size == 112
    assert load("recipe=paper").published == {}
    assert load("recipe=empty").data == Data()
    assert isinstance(load().data, Data)
    assert isinstance(load().data.rate, float)


def test_a_recipe_may_be_a_file(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("data: {root: here}\n")
    config = load(f"recipe={tmp_path / 'mine.yaml'}")
    assert config.data.root == "here"
    assert config.recipe.endswith("mine.yaml")


def test_values_may_hold_equal_signs():
    assert load("data.root=a=b").data.root == "a=b"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("data.rooot=x", "data.root"),
        ("dta.size=3", "data.size"),
        ("sed=3", "seed"),
        ("trainer.device=2", "trainer.devices"),
        ("size=3", "data.size"),
        ("wandb.proj=x", "wandb.project"),
    ],
)
def test_an_unknown_key_names_the_nearest(word: str, near: str):
    with pytest.raises(ConfigError) as caught:
        load(word)
    key = word.split("=")[0]
    assert str(caught.value) == f"the command line: there is no key {key!r}; the nearest is {near!r}"


def test_an_unknown_key_in_a_recipe_names_the_file_too(recipes: Path):
    (recipes / "wrong.yaml").write_text("data: {siez: 3}\n")
    with pytest.raises(ConfigError, match=r"wrong\.yaml:1: there is no key 'data\.siez'; the nearest is 'data\.size'"):
        load("recipe=wrong")


@pytest.mark.parametrize(
    "word",
    ["data.size=large", "data.size=1.5", "data.rate=[1]", "data.flip=perhaps", "seed=", "data.root.x=1"],
)
def test_a_wrong_type_names_the_key(word: str):
    with pytest.raises(ConfigError) as caught:
        load(word)
    assert ".".join(word.split("=")[0].split(".")[:2]) in str(caught.value)


def test_a_group_is_not_a_key():
    with pytest.raises(ConfigError, match=r"'data' is a group; set one of its keys: data\.root"):
        load("data=3")


@pytest.mark.parametrize("content", ["data: [1, 2]\n", "- 1\n", "just text\n", "data: {size: 3\n", "a: b: c\n"])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str):
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load(f"recipe={tmp_path / 'broken.yaml'}")


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"no recipe 'papr' for test; there are demo, empty, paper"):
        load("recipe=papr")


def test_a_required_key_is_named():
    @dataclass
    class Strict(Schema):
        source: str = option(REQUIRED, "where from")

    with pytest.raises(ConfigError, match="required, but not given: source="):
        load_config(Strict, "test", [], "demo")
    assert load_config(Strict, "test", ["source=here"], "demo").source == "here"


def test_a_word_without_value_is_named():
    with pytest.raises(ConfigError, match="key=value, got 'data'"):
        load("data")


def test_lists_and_dicts_are_not_shared_between_configs():
    load().data.parts.append("changed")
    Schema(recipe="x").published["a"] = 1.0
    assert load().data.parts == ["a"]
    assert Schema(recipe="x").published == {}


def test_a_saved_config_loads_again_equal(tmp_path: Path):
    config = load("data.limit=3", "data.root=elsewhere")
    save_config(config, tmp_path / "config.yaml")
    again = load(f"recipe={tmp_path / 'config.yaml'}")
    assert dataclasses.replace(again, recipe="demo") == config
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert saved == dataclasses.asdict(config)
    assert saved["trainer"]["precision"] == "32-true"  # resolved: defaults are written out


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two run folders of the experiment, the newer unfinished."""
    for name, size in (("2024-01-01_00-00-00", 1), ("2024-01-02_00-00-00", 2)):
        folder = tmp_path / "runs" / "test" / name
        folder.mkdir(parents=True)
        save_config(load("recipe=paper", f"data.size={size}"), folder / "config.yaml")
    (tmp_path / "runs" / "test" / "latest").symlink_to("2024-01-01_00-00-00")
    return tmp_path / "runs"


def test_a_resumed_run_keeps_its_configuration_but_for_the_words_given(runs: Path):
    config = load(f"resume={runs}/test/2024-01-01_00-00-00", "trainer.progress_bar=false")
    assert config.data.size == 1
    assert config.recipe == "paper"
    assert not config.trainer.progress_bar
    newest = load("resume=latest", f"output_dir={runs}")
    assert newest.data.size == 2
    assert newest.resume == str(runs / "test" / "2024-01-02_00-00-00")


def test_a_recipe_changes_nothing_of_a_resumed_run(runs: Path):
    """`make pretrain ARGS="resume=latest"` passes `recipe=demo` too."""
    config = load("recipe=demo", "resume=latest", f"output_dir={runs}", "data.limit=3")
    assert config.recipe == "paper"
    assert config.data == Data(size=2, limit=3)
    assert config.published == {}


def test_the_newest_run_that_began_to_train_is_resumed(runs: Path):
    (runs / "test" / "2024-01-01_00-00-00" / "fit" / "checkpoints").mkdir(parents=True)
    assert load("resume=latest", f"output_dir={runs}").data.size == 1
    (runs / "test" / "2024-01-02_00-00-00" / "checkpoints").mkdir()
    assert load("resume=latest", f"output_dir={runs}").data.size == 2


def test_what_cannot_be_resumed_is_named(runs: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no run of test below"):
        load("resume=latest", f"output_dir={tmp_path / 'nowhere'}")
    with pytest.raises(ConfigError, match=r"recipes is not a run folder to resume: it has no config\.yaml"):
        load(f"resume={tmp_path / 'recipes'}")


def test_a_mistake_on_the_command_line_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr("sys.argv", ["test", "data.rooot=x"])
    with pytest.raises(SystemExit) as caught:
        parse_command_line(Schema, "test", "demo")
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "the nearest is 'data.root'" in message


def test_the_tenth_run_of_a_second_is_newer_than_the_ninth(tmp_path: Path) -> None:
    for name in ("2026-01-01_00-00-00", "2026-01-01_00-00-00_9", "2026-01-01_00-00-00_10"):
        folder = tmp_path / "story" / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder.parent / "config.yaml").write_text("seed: 1\n")
    assert resumed_folder(str(tmp_path), "story", "latest").name == "2026-01-01_00-00-00_10"
