"""The examples of docs/extending.md, each in a process of its own as a reader would run it."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text(), re.M | re.S)


def test_every_section_has_an_example() -> None:
    titles = [title for title, _ in SECTIONS]
    assert titles == ["A backbone", "A data set", "A head network", "A task"]


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for _, code in SECTIONS], ids=[title for title, _ in SECTIONS])
def test_the_example_runs(code: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("Happiness", "Sadness"):
            for number in range(count):
                path = tmp_path / "faces" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), random.integers(0, 256, (32, 32, 3), np.uint8))
    (tmp_path / "example.py").write_text(code)
    command = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; runpy.run_path('example.py')"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
