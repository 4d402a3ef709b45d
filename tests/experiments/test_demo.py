import json
import sys
from pathlib import Path
from typing import Any

import pytest

from demo_data.production import STAMP, build
from experiments.demo import WRITERS, is_demo


@pytest.mark.parametrize("kind", WRITERS)
def test_every_drawn_set_is_known_by_its_stamp(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stamp_alone(root: Path, recipe: dict[str, Any], write: Any) -> bool:
        return build(root, recipe, lambda folder: None)

    assert not is_demo(tmp_path / kind)
    monkeypatch.setattr(sys.modules[WRITERS[kind].__module__], "build", stamp_alone)
    WRITERS[kind](tmp_path / kind)
    assert is_demo(tmp_path / kind)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"affectnet"', '{"set": "AffectNet", "renderer": 1}', '{"set": "affectnet"}'],
)
def test_another_file_of_that_name_does_not_let_images_out(content: str, tmp_path: Path):
    (tmp_path / STAMP).write_text(content)
    assert not is_demo(tmp_path)
    (tmp_path / STAMP).write_text(json.dumps({"set": "affectnet", "renderer": 1}))
    assert is_demo(tmp_path)
