"""The rule by which files are taken for images, hidden files or other files when a folder is listed."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

SUFFIXES: Final = (
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the formats that can be decoded, in lower case; comparisons ignore case."""
JPEG_SUFFIXES: Final = (".jfif", ".jpe", ".jpeg", ".jpg")
_SYSTEM_NAMES: Final = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
_SHOWN: Final = 3


def has_image_suffix(name: str) -> bool:
    """Return whether a file is an image by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is not data by its name: hidden, or created by a desktop or an archiver.

    Examples are `._*`, `.DS_Store` and `__MACOSX` of macOS, `Thumbs.db` and `desktop.ini` of Windows, and
    `.ipynb_checkpoints`.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def list_images(folder: Path, known: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """List the images directly in a folder; hidden entries and `known` other files are skipped.

    A dead link and a pipe count as images by their suffix, so that they are reported when they are read.

    Returns:
        Sorted names of the images, and sorted names of other files and of folders.
    """
    images: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name) or entry.name in known:
                continue
            is_image = has_image_suffix(entry.name) and not entry.is_dir()
            (images if is_image else others).append(entry.name)
    return sorted(images), sorted(others)


def describe_ignored(root: Path | str, ignored: Sequence[str]) -> str:
    """Return a message with the number and examples of entries that are not read."""
    shown = ", ".join(ignored[:_SHOWN]) + (", ..." if len(ignored) > _SHOWN else "")
    return (
        f"{root}: {len(ignored)} entries are not read, since they are folders or do not have an image suffix "
        f"({', '.join(SUFFIXES)}): {shown}"
    )
