"""Compares drawn folders byte by byte."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digest() -> Callable[[Path], dict[str, str]]:
    """Return a function that maps each file of a folder to a digest of its bytes."""

    def of(root: Path) -> dict[str, str]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return of
