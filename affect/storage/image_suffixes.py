"""Which files of a folder are images: one rule for everything that lists them."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

SUFFIXES: Final = (
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the formats that can be decoded, in lower case; they are compared without regard to case."""
JPEG_SUFFIXES: Final = (".jfif", ".jpe", ".jpeg", ".jpg")
_SYSTEM_NAMES: Final = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
_SHOWN: Final = 3


def has_image_suffix(name: str) -> bool:
    """Tell by its suffix whether a file is an image."""
    return Path(name).suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Tell by its name whether a file or folder is no data: hidden, or a desktop's or archiver's own.

    Among them are `._*`, `.DS_Store` and `__MACOSX` of macOS, `Thumbs.db` and `desktop.ini` of Windows, and
    `.ipynb_checkpoints`.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def list_images(folder: Path, known: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """List the images directly in a folder; hidden entries are left out without mention.

    A link that leads nowhere and a pipe count as images by their suffix, so that reading reports them.

    Args:
        folder: Where to look.
        known: Names of other files that belong there.

    Returns:
        Names of the images, and of what else is there: files with other suffixes, and folders. Both are sorted.
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
    """Name and count entries that are not read."""
    shown = ", ".join(ignored[:_SHOWN]) + (", ..." if len(ignored) > _SHOWN else "")
    return (
        f"{root}: {len(ignored)} entries are not read, since they are folders or have no suffix of an image "
        f"({', '.join(SUFFIXES)}): {shown}"
    )
