"""YAML files that are no recipes are refused with file and line."""

import itertools
import os
from pathlib import Path

import pytest

from experiments.runtime.config.load import RunConfig, load_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.yaml_nodes import MAX_BYTES

BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefgh"))


def load(path: Path, *words: str) -> RunConfig:
    return load_config(RunConfig, "mtl", [f"recipe={path}", *words], None)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("seed: 1\ntrainer: {devices: 1\n", 3, "invalid YAML"),
        ("seed: 1\na: b: c\n", 2, "invalid YAML"),
        ("seed: 1\n\tx: 2\n", 2, "invalid YAML"),
        ("seed: 1\n---\nseed: 2\n", 2, "a second document begins here"),
        ("seed: 1\nwandb: &a {project: *a}\n", 2, r"alias \*a is not supported"),
        (BOMB, 2, "alias"),
        ("seed: !!python/object/apply:os.system [ls]\n", 1, "tag .* is not supported"),
        ("wandb: {project: !!binary aGk=}\n", 1, "tag .* is not supported"),
        ('seed: 1\nwandb: {project: "\x07"}\n', 2, r"character U\+0007"),
        ("seed: 1\ntrainer: {num_nodes: 1}\nseed: 2\n", 0, "'seed' is there twice, in lines 1 and 3"),
        ("trainer: {num_nodes: 1}\ntrainer.num_nodes: 2\n", 2, "'trainer.num_nodes' is there twice"),
        ("seed: 1\n? [a]\n: 2\n", 0, "a key must be a word, .* in line 2"),
        (
            "seed: 1\nwandb:\n  projekt: x\n",
            3,
            "there is no key 'wandb.projekt'; the nearest is 'wandb.project'",
        ),
        ("seed: 1\ntrainer: 3\n", 2, "'trainer' is a group"),
        ("<<: {seed: 3}\n", 1, "there is no key"),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, content: str, line: int, reason: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load(tmp_path / "mine.yaml")
    assert str(caught.value).startswith(str(tmp_path / "mine.yaml") + (f":{line}: " if line else ": "))


@pytest.mark.parametrize("content", ["[" * 900, "{a: " * 900, "- " * 900])
def test_deep_nesting_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load(tmp_path / "mine.yaml")


def test_a_file_that_cannot_be_a_recipe_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"mine\.yaml is not a regular file"):
        load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"mine\.yaml is not a regular file"):
        load(path)
    path.rmdir()
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"mine\.yaml has 262,145 bytes"):
        load(path)
    path.write_bytes(b"seed: 1\nwandb: {project: \xe9t\xe9}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:2: byte 0xe9 is not UTF-8"):
        load(path)
    path.write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(ConfigError, match=r"mine\.yaml:1: .*U\+0003"):
        load(path)
    with pytest.raises(ConfigError, match="no recipe"):
        load(Path("x" * 5000 + ".yaml"))
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\n")
    assert load(path).seed == 3


def test_a_recipe_names_neither_another_recipe_nor_a_run_to_resume(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"recipe: {tmp_path / 'mine.yaml'}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: a recipe cannot name another recipe"):
        load(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("resume: latest\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: resume cannot be set here"):
        load(tmp_path / "mine.yaml")


def test_a_variable_of_make_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"RECIPE= is a variable of `make`; the key is 'recipe'"):
        load(tmp_path / "mine.yaml", "RECIPE=demo")
