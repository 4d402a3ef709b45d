"""Commands, files and modules that the README and docs/ name exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
PACKAGES = (
    "affect",
    "benchmarks",
    "callbacks",
    "datamodules",
    "demo_data",
    "experiments",
    "lightning_modules",
)


@pytest.fixture(params=PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_make_has_every_target(page: Path) -> None:
    # A command begins a line of a code block or follows a backtick; prose may say "make" as a verb.
    named = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), re.M)
    assert set(named) - TARGETS == set()


def test_modules_that_are_run_or_imported_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"python -m ([\w.]+)", text)) | set(re.findall(r"^from ([\w.]+) import", text, re.M))
    ours = {name for name in named if name.partition(".")[0] in (*PACKAGES, "tests")}
    assert {name for name in ours if importlib.util.find_spec(name) is None} == set()


def test_paths_of_modules_exist(page: Path) -> None:
    named = set(re.findall(rf"`((?:{'|'.join((*PACKAGES, 'tests'))})/[\w/]+\.\w+)`", page.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
