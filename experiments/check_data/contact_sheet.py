"""Pictures of a set to look at: some faces of each class, and pairs that look alike."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datamodules.images.dataset import read_image, resize
from datamodules.images.decoding import UnreadableImageError
from experiments.check_data.duplicates import LookAlike
from experiments.check_data.listing import BOX, Listing
from experiments.runtime.reports.figures import image_grid

_SIDE: Final = 112
_COLUMNS: Final = 8
_PAIRS: Final = 12
_BLANK: Final = np.full((_SIDE, _SIDE, 3), 255, np.uint8)


def contact_sheet(listing: Listing, readable: Collection[str], seed: int) -> Figure:
    """Draw faces as they are cut out for training, a row per expression: training faces left, others right.

    Args:
        listing: The set.
        readable: Paths of the images that can be shown.
        seed: Chooses the faces.
    """
    samples = listing.samples[listing.samples["path"].isin(set(readable))]
    images: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    if not listing.classes:
        _add(listing, _drawn(samples, 3 * _COLUMNS, seed), images, captions, 3 * _COLUMNS)
    for label in range(len(listing.classes)):
        own = samples[samples["expression"] == label]
        for split in ("train", "val"):
            faces = _drawn(own[own["split"] == split], _COLUMNS // 2, seed)
            _add(listing, faces, images, captions, _COLUMNS // 2)
    return image_grid(images, captions, f"{listing.title}: {listing.root.resolve().name}", _COLUMNS)


def look_alike_sheet(listing: Listing, pairs: Sequence[LookAlike]) -> Figure:
    """Draw the most similar pairs of images of different splits side by side."""
    images: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    for pair in pairs[:_PAIRS]:
        for path, caption in ((pair.first, "train"), (pair.second, f"{pair.split}  {pair.similarity:.4f}")):
            images.append(_read(listing.root / path))
            captions.append(f"{caption}\n{_short(path)}")
    return image_grid(images, captions, f"{len(pairs):,} pairs look alike", _COLUMNS)


def _drawn(samples: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    return samples.sample(min(count, len(samples)), random_state=seed)


def _add(
    listing: Listing, faces: pd.DataFrame, images: list[NDArray[np.uint8]], captions: list[str], places: int
) -> None:
    for face in faces.to_dict("records"):
        box = [int(face[key]) for key in BOX] if face.get("width") else None
        images.append(_read(listing.root / face["path"], box))
        captions.append(_caption(listing, face))
    images += [_BLANK] * (places - len(faces))
    captions += [""] * (places - len(faces))


def _caption(listing: Listing, face: dict[Any, Any]) -> str:
    label = listing.classes[face["expression"]] if listing.classes else _short(face["path"])
    values = [f"{face[name]:+.2f}" for name in ("valence", "arousal") if not np.isnan(face.get(name, np.nan))]
    return "\n".join([f"{face['split']} {label}".strip(), *([" ".join(values)] if values else [])])


def _short(path: str) -> str:
    name = Path(path).name
    return name if len(name) <= 18 else f"...{name[-15:]}"


def _read(path: Path, box: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Read a face; a blank one if it cannot be read or its box is outside, which the report names."""
    try:
        return resize(read_image(path, box), _SIDE)
    except UnreadableImageError:
        return _BLANK
