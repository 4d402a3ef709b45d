"""Which data set a folder holds."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from affect.errors import InvalidOptionError, MissingFileError
from affect.storage.image_suffixes import is_hidden
from datamodules.aff_wild2 import IMAGE_FOLDER as FRAME_FOLDER
from datamodules.images.tree import scan_images
from datamodules.readers.aff_wild2_counts import TRAINING_LIST, VALIDATION_LIST
from datamodules.readers.affectnet import IMAGE_FOLDER
from datamodules.synthetic_faces import TRAIN_FOLDER, VALIDATION_FOLDER
from experiments.check_data.aff_wild2 import list_aff_wild2
from experiments.check_data.affectnet import list_affectnet_csv, list_affectnet_npy
from experiments.check_data.listing import Listing, samples_of
from experiments.check_data.problems import Effect, Problem
from experiments.check_data.synthetic import list_synthetic


class Layout(NamedTuple):
    """A layout of a data set.

    Attributes:
        name: The set, as `set=` names it.
        parts: Files and folders in its root.
        list_samples: Lists a folder of this layout; it does not raise errors about the content.
    """

    name: str
    parts: tuple[str, ...]
    list_samples: Callable[[Path], Listing]


def list_images_only(root: Path) -> Listing:
    """List all images below a folder, without labels."""
    tree = scan_images(root)
    problems = [Problem(Effect.NOTE, "an entry that is no image", "", name) for name in tree.ignored]
    problems += [Problem(Effect.STOPS, reason, "", name) for name, reason in tree.rejected]
    return Listing("images without labels", root, samples_of("", tree.names), (), problems)


IMAGES: Final = "images"
LAYOUTS: Final = (
    Layout("affectnet", ("training.csv", "validation.csv", IMAGE_FOLDER), list_affectnet_csv),
    Layout("affectnet", ("train_set", "val_set"), list_affectnet_npy),
    Layout("aff_wild2", (TRAINING_LIST, VALIDATION_LIST, FRAME_FOLDER), list_aff_wild2),
    Layout("synthetic", (TRAIN_FOLDER, VALIDATION_FOLDER), list_synthetic),
)
NAMES: Final = ("auto", *dict.fromkeys(layout.name for layout in LAYOUTS), IMAGES)


def list_set(root: Path, name: str = "auto") -> Listing:
    """Find out which set a folder holds, and list it; of a partial one, missing parts are among the problems.

    Args:
        root: The set's folder.
        name: One of NAMES: `auto` takes the layout with the most parts that are there, `images` any tree of images.

    Raises:
        MissingFileError: If there is no such folder, or it has no part of the layouts in question.
        InvalidOptionError: If two layouts have equally many parts.
    """
    if not root.is_dir():
        raise MissingFileError(f"there is no folder {root}; give that of a data set (make: DATA=, else data.root=)")
    if name == IMAGES:
        return list_images_only(root)
    layouts = [layout for layout in LAYOUTS if name in ("auto", layout.name)]
    present = {layout: _count_parts(root, layout) for layout in layouts}
    most = max(present.values())
    if not most:
        raise MissingFileError(_unknown(root, layouts))
    found = [layout for layout, count in present.items() if count == most]
    if len(found) > 1:
        shown = " or ".join(", ".join(layout.parts) for layout in found)
        raise InvalidOptionError(f"{root} may be one of several sets ({shown}); choose with set=, or separate them")
    listing = found[0].list_samples(root)
    listing.problems += [Problem(Effect.NOTE, "a hidden entry, which is not data", "", name) for name in _hidden(root)]
    return listing


def _hidden(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        for name in sorted(entry for entry in (*folders, *files) if is_hidden(entry)):
            yield (Path(folder) / name).relative_to(root).as_posix()
        folders[:] = sorted(entry for entry in folders if not is_hidden(entry))


def _count_parts(root: Path, layout: Layout) -> int:
    return sum((root / part).exists() for part in layout.parts)


def _unknown(root: Path, layouts: list[Layout]) -> str:
    entries = sorted(path for path in root.iterdir() if not is_hidden(path.name))
    inner = [path for path in entries if path.is_dir() and any(_count_parts(path, layout) for layout in layouts)]
    expected: Mapping[str, None] = dict.fromkeys(", ".join(layout.parts) for layout in layouts)
    held = ", ".join(path.name for path in entries[:10]) or "nothing"
    hint = f"did you mean {inner[0]}?" if inner else f"set={IMAGES} checks any folder of images"
    return f"{root} holds none of the known sets: expected {'; or '.join(expected)}. It holds {held}; {hint}"
