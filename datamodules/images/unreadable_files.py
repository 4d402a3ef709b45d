"""Check that images can be decoded, before a long computation depends on them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from datamodules.images.dataset import UnreadableImageError, read_image

_CHUNK: Final = 4096


def unreadable_images(root: str | Path, names: Sequence[str]) -> dict[str, str]:
    """Decode every image, and return the messages of those that cannot be decoded; each begins with the path."""
    found: dict[str, str] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8), thread_name_prefix="image-check") as pool:
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            messages = zip(chunk, pool.map(partial(_message, Path(root)), chunk), strict=True)
            found |= {name: message for name, message in messages if message is not None}
    return found


def _message(root: Path, name: str) -> str | None:
    try:
        read_image(root / name)
    except UnreadableImageError as error:
        return str(error)
    return None
