"""Text options are taken literally, others as YAML; both survive config.yaml."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import experiments.runtime.config.load
from experiments.runtime.config.load import RunConfig, load_config, save_config
from experiments.runtime.config.options import ConfigError, option

ODD_TEXTS = [
    "/x/faces #2",
    "2024_11",
    "a: b",
    "${USER}",
    r"\${oc.env:HOME}",
    r"\\${a",
    "$${b}",
    "null ",
    "'quoted'",
    '"',
    "",
    " lead",
    "trail ",
    "tab\tin",
    "line\nbreak",
    "- dash",
    "{brace}",
    "[list]",
    "*alias",
    "&anchor",
    "!tag",
    "%dir",
    "@at",
    "`tick",
    "yes",
    "1e3",
    "0x10",
    "12:30:00",
    "2024-11-01",
    "é ü 表情 😀",
    "\x85next\u2028line",
    "x=y",
    "#",
    "?",
    ": ",
    "a" * 3000,
    "a  b" * 400,
    "\udce9latin",
]


@dataclass
class Data:
    root: str = option("data", "folder", path=True)
    title: str = option("t", "free text")
    cache: str | None = option(None, "folder", path=True)
    names: list[str] = option(["a"], "names")
    rates: list[float] = option([0.1, 0.2], "rates", ge=0, le=1, length=2)
    size: int = option(224, "pixels", ge=1)
    rate: float = option(0.5, "share", ge=0, le=1)
    flip: bool = option(False, "mirror")
    limit: int | None = option(None, "at most", ge=1)
    weight: dict[str, float] = option({"x": 0.1}, "weights", ge=0, le=1)


@dataclass
class Schema(RunConfig):
    data: Data = field(default_factory=Data)


@pytest.fixture(autouse=True)
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recipes" / "test"
    folder.mkdir(parents=True)
    (folder / "demo.yaml").write_text("seed: 1\n")
    monkeypatch.setattr(experiments.runtime.config.load, "RECIPES", tmp_path / "recipes")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def load(*words: str) -> Schema:
    return load_config(Schema, "test", words, "demo")


def load_recipe(recipes: Path, text: str) -> Schema:
    (recipes / "mine.yaml").write_text(text, encoding="utf-8")
    return load("recipe=mine")


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_text_is_taken_literally_and_survives_being_saved_and_resumed(text: str, tmp_path: Path) -> None:
    path = text or "."  # an empty path is refused
    config = load(f"data.root={path}", f"data.cache={path}", f"data.title={text}")
    assert (config.data.root, config.data.cache, config.data.title) == (path, path, text)
    run = tmp_path / "run"
    run.mkdir()
    save_config(config, run / "config.yaml")
    assert load(f"resume={run}") == dataclasses.replace(config, resume=str(run))
    again = load(f"recipe={run / 'config.yaml'}")
    assert dataclasses.replace(again, recipe="demo") == config
    save_config(again, run / "config.yaml")  # nothing grows by another turn
    assert load(f"resume={run}").data == config.data


def test_a_recipes_text_is_taken_as_written_even_if_yaml_reads_a_number(recipes: Path) -> None:
    text = "wandb: {project: 2024_11, entity: 007}\ndata: {title: yes, names: [1e3, null, on], cache: 'null'}\n"
    config = load_recipe(recipes, text)
    assert (config.wandb.project, config.wandb.entity) == ("2024_11", "007")
    assert (config.data.title, config.data.names, config.data.cache) == ("yes", ["1e3", "null", "on"], "null")


def test_null_is_none_where_an_option_allows_it_and_text_elsewhere(recipes: Path) -> None:
    assert load("data.cache=null", "data.limit=null").data.cache is None
    assert load("data.title=null").data.title == "null"
    assert load_recipe(recipes, "data: {cache: null, limit: ~}\n").data.cache is None
    for text in ("data: {title: null}\n", "data: {size: null}\n", "data:\n  title:\n"):
        with pytest.raises(ConfigError, match=r"mine\.yaml:\d: data\.(title|size) must be .*, not null"):
            load_recipe(recipes, text)


def test_a_leading_tilde_is_the_home_folder_in_paths_alone(recipes: Path, tmp_path: Path) -> None:
    config = load("data.root=~/faces", "data.cache=~", "data.title=~/x", "output_dir=~//runs")
    home = str(tmp_path / "home")
    assert (config.data.root, config.data.cache, config.output_dir) == (f"{home}/faces", home, f"{home}/runs")
    assert config.data.title == "~/x"
    assert load_recipe(recipes, "data: {root: ~/faces}\n").data.root == f"{home}/faces"
    assert load("data.root=a/~/b").data.root == "a/~/b"
    assert load("data.root=./~").data.root == "./~"
    with pytest.raises(ConfigError, match=r"data\.root=~nobody-here/x: there is no home folder ~nobody-here"):
        load("data.root=~nobody-here/x")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("data: {root: '${oc.env:HOME}'}", r"data\.root"), ("data:\n  root: ${USER}", r"data\.root"),
        ("data: {names: ['a${b}']}", r"data\.names"), ("data: {weight: {'${a}': 0.5}}", r"data\.weight"),
        ("wandb:\n  project: x${", r"wandb\.project"),
    ],
)  # fmt: skip
def test_interpolation_in_a_recipe_is_refused(recipes: Path, line: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml:\d: {key} holds \$\{{\.\.\.\}}"):
        load_recipe(recipes, line)


def test_interpolation_is_no_number_either(recipes: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed must be a whole number, not '\$\{x\}'"):
        load_recipe(recipes, "seed: ${x}\n")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.rate=1e-3", 0.001), ("data.rate=1", 1.0), ("data.rate=.5", 0.5), ("data.rate=5.e-1", 0.5),
        ("data.size=+7", 7), ("data.flip=true", True), ("data.flip=False", False), ("data.flip=on", True),
        ("data.rates=[0.3,0.3]", [0.3, 0.3]), ("data.names=[a, 2024_11]", ["a", "2024_11"]), ("data.names=[]", []),
        ("data.weight={expression: 0.6}", {"x": 0.1, "expression": 0.6}), ("data.weight={x: 1e-1}", {"x": 0.1}),
        ("data.weight.y=0.5", {"x": 0.1, "y": 0.5}), ("data.limit=3", 3),
    ],
)  # fmt: skip
def test_other_types_have_the_syntax_of_yaml(word: str, value: Any) -> None:
    found = getattr(load(word).data, word.partition("=")[0].split(".")[1])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", ["nan", ".nan", "inf", "-.inf", "1e999", "1/512", "0x1p3", "", "true", "1,5", "[1]"])
def test_text_that_is_not_a_finite_number_is_refused_with_its_key(recipes: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"data.rate={value}")
    assert str(caught.value) == f"data.rate must be a finite number, not {value!r}"
    with pytest.raises(ConfigError, match=r"mine\.yaml:1: data\.rate must be a finite number, not "):
        load_recipe(recipes, f"data: {{rate: {value if value == '[1]' else repr(value)}}}\n")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.size=1.5", "a whole number"),
        ("data.size=" + "9" * 5000, "a whole number"),
        ("data.flip=maybe", "true or false"),
        ("data.flip=2", "true or false"),
        ("data.rates=0.3", "a list"),
        ("data.rates=[a, b]", "a list|a finite number"),
        ("data.rates=[0.3", "a list"),
        ("data.weight=[1]", "a mapping"),
        ("data.weight={a: {b: 1}}", "a finite number|a mapping"),
        ("data.limit=many", "a whole number"),
        ("data.rate=*a", "a finite number"),
        ("data.rate=!!python/name:os.system", "a"),
        ("data.rates=" + "[" * 900, "a list"),
    ],
)
def test_a_value_of_another_type_names_key_text_and_type(word: str, expected: str) -> None:
    key, _, text = word.partition("=")
    with pytest.raises(ConfigError, match=rf"^{key} must be ({expected}).*, not ") as caught:
        load(word)
    assert repr(text) in str(caught.value)
