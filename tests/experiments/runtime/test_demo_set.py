import json
from pathlib import Path
from typing import Any

import pytest

import demo_data.build
from demo_data.build import STAMP, build
from experiments.runtime.demo_set import (
    DRAWN_WEIGHTS,
    WRITERS,
    is_demo,
    is_drawn_weights,
    warn_of_drawn_weights,
)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_drawn_set_is_recognised_by_its_stamp(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stamp_alone(root: Path, recipe: dict[str, Any], write: Any) -> bool:
        return build(root, recipe, lambda folder: None)

    assert not is_demo(tmp_path / kind)
    monkeypatch.setattr(demo_data.build, "build", stamp_alone)
    WRITERS[kind](tmp_path / kind)
    assert is_demo(tmp_path / kind)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"affectnet"', '{"set": "AffectNet", "renderer": 1}', '{"set": "affectnet"}'],
)
def test_another_file_of_that_name_does_not_make_a_set_a_drawn_one(content: str, tmp_path: Path):
    (tmp_path / STAMP).write_text(content)
    assert not is_demo(tmp_path)
    (tmp_path / STAMP).write_text(json.dumps({"set": "affectnet", "renderer": 1}))
    assert is_demo(tmp_path)


def test_drawn_weights_are_recognised_by_content_and_warned_of_before_photographs(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    copy = tmp_path / "vggface2.safetensors"
    copy.write_bytes(DRAWN_WEIGHTS.read_bytes())
    other = tmp_path / "other.safetensors"
    other.write_bytes(DRAWN_WEIGHTS.read_bytes()[:-1])
    assert is_drawn_weights(copy)
    assert not is_drawn_weights(other)
    warn_of_drawn_weights(str(copy), tmp_path, "model.weights (make: WEIGHTS=)")
    warning = capsys.readouterr().err
    assert "WEIGHTS=" in warning
    assert str(tmp_path) in warning
    for weights in (str(other), "none", "hub"):
        warn_of_drawn_weights(weights, tmp_path, "model.weights")
    (tmp_path / STAMP).write_text(json.dumps({"set": "affectnet", "renderer": 1}))
    warn_of_drawn_weights(str(copy), tmp_path, "model.weights")
    assert not capsys.readouterr().err
