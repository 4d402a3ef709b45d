"""Own images in a folder per class, read into one table.

<root>/train/<class>/<file>, <root>/val/<class>/<file>     `valid`, `validation` or `test` instead of `val`
<root>/<class>/<file>                                      to be split
.../<class>/<person>/<file>                                a subfolder per person, or of any other meaning

The table has one row per image: `split` (train, val, test; empty where the set has none), `path` relative to the root,
`class` (the folder's name) and `person` (the first subfolder's name; empty without one).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pandas as pd
from pytorch_lightning.utilities import rank_zero_warn

from affect.errors import MissingFileError
from affect.storage.image_suffixes import describe_ignored, has_image_suffix, is_hidden
from datamodules.images.tree import scan_images
from datamodules.readers.annotation_errors import AnnotationError, some_of

SPLITS: Final = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"
}  # fmt: skip
"""Names of the splits, in lower case; comparisons ignore case."""


def read_class_folders(root: Path) -> pd.DataFrame:
    """List the images of all classes, at any depth below the class's folder, into the table described above.

    Hidden files are skipped. Other files, images outside a class's folder, links in a circle and folders without an
    image give a warning. Links are followed.

    Raises:
        AnnotationError: If there is no class's folder with an image, two folders are of the same split, or a name has a
            character that cannot be printed.
    """
    try:
        tree = scan_images(root)
    except MissingFileError as error:
        raise AnnotationError(f"{error}; expected {root}/<class>/<image> or {root}/train/<class>/<image>") from error
    splits = _split_folders(root)
    depth = 1 if splits else 0
    # A dead link is listed, so that it is reported with the missing images.
    dead = [name for name, _ in tree.rejected if has_image_suffix(name) and not (root / name).is_dir()]
    names = sorted([*tree.names, *dead])
    if odd := [name for name in names if not name.isprintable()]:
        shown = some_of([ascii(name) for name in odd])
        raise AnnotationError(f"{root}: {len(odd)} names with characters that cannot be printed, such as {shown}")
    rows, loose = [], []
    for name in names:
        folders = name.split("/")[:-1]
        if (splits and (not folders or folders[0] not in splits)) or len(folders) <= depth:
            loose.append(name)
        else:
            person = folders[depth + 1] if len(folders) > depth + 1 else ""
            rows.append((splits.get(folders[0], ""), name, folders[depth], person))
    table = pd.DataFrame(rows, columns=["split", "path", "class", "person"])
    if table.empty:
        raise AnnotationError(f"{root} holds images, such as {names[0]}, but none in a folder of a class")
    _warn(root, tree.ignored, loose, [name for name, _ in tree.rejected if name not in dead])
    used = {tuple(name.split("/")[: depth + 1]) for name in table["path"]}
    if empty := ["/".join(parts) for parts in _class_folders(root, splits) if parts not in used]:
        rank_zero_warn(f"{root}: {len(empty)} folders hold no image and are no class: {some_of(empty)}")
    return table


def person_by_name(names: pd.Series, pattern: str, source: str) -> pd.Series:
    """Find the person of each image in its file name.

    Args:
        names: Paths of the images.
        pattern: Regular expression, matched from the start of the file name; its first group, or what it matches if it
            has none, is the person.
        source: The data set, for messages.

    Raises:
        AnnotationError: If it does not match a name, or matches nothing of one; the message gives examples.
    """
    compiled = re.compile(pattern)
    matches = [compiled.match(name.rpartition("/")[2]) for name in names]
    people = [match[min(compiled.groups, 1)] or "" if match else "" for match in matches]
    if unknown := [name for name, person in zip(names, people, strict=True) if not person]:
        raise AnnotationError(
            f"{source}: data.person_pattern={pattern} finds no person in {len(unknown)} of {len(people)} file names, "
            f"such as {some_of(unknown)}"
        )
    return pd.Series(people, names.index, dtype=object)


def check_pattern(pattern: str) -> str | None:
    """Return why a text is no regular expression; None if it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return None


def _split_folders(root: Path) -> dict[str, str]:
    """Return the split of each folder that is named as one; empty unless one of them is for training."""
    found = {name: SPLITS[name.lower()] for name in _folders(root) if name.lower() in SPLITS}
    if "train" not in found.values():
        return {}
    for split in set(found.values()):
        if len(same := [name for name in found if found[name] == split]) > 1:
            raise AnnotationError(f"{root}: the folders {', '.join(same)} are of one split; merge or remove one")
    return found


def _class_folders(root: Path, splits: dict[str, str]) -> Iterator[tuple[str, ...]]:
    if not splits:
        yield from ((name,) for name in _folders(root))
    for split in splits:
        yield from ((split, name) for name in _folders(root / split))


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def _warn(root: Path, ignored: tuple[str, ...], loose: list[str], circular: list[str]) -> None:
    if ignored:
        rank_zero_warn(describe_ignored(root, ignored))
    for names, reason in (
        (loose, "images are not read, since they are not in a folder of a class of a split"),
        (circular, "links are not followed, since they lead back to a folder above them"),
    ):
        if names:
            rank_zero_warn(f"{root}: {len(names)} {reason}: {some_of(names)}")
