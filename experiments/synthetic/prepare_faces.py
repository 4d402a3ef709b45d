"""Preparation of stage 3's faces: unchanged, interpolated, or upscaled with Real-ESRGAN."""

import glob
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from affect.errors import InvalidOptionError
from affect.storage.atomic_write import write_text
from affect.storage.fingerprint import content_digest, file_digest, sizes_digest
from affect.storage.upscaled_tree import MANIFEST, StaleTreeError, read_manifest
from datamodules.images.dataset import UnreadableImageError
from datamodules.images.tree import ImageTree, scan_images
from datamodules.images.unreadable_files import unreadable_images
from datamodules.synthetic_faces import FaceCopy
from experiments.runtime.config.load import TrainerConfig
from experiments.synthetic.config import METHODS, PreparationConfig
from experiments.upscale import build_upscaler, upscale_tree

_log = logging.getLogger(__name__)


def prepare_faces(
    source: Path,
    listed: Sequence[str],
    config: PreparationConfig,
    trainer: TrainerConfig,
    on_corrupt: str = "raise",
) -> FaceCopy:
    """Return the folder of prepared faces: the source itself, or its enlarged copy, which is made if missing.

    Args:
        source: Folder of the faces.
        listed: Paths of the faces that are used, relative to it; others below the folder are enlarged too.
        config: Method and settings.
        trainer: Devices to compute on.
        on_corrupt: With `raise`, unreadable faces are an error before any is enlarged.

    Returns:
        The folder; of a copy, the source's unreadable images and how it was made.

    Raises:
        InvalidOptionError: If the method is unknown.
        UnreadableImageError: If listed faces cannot be read, `on_corrupt` is `raise`, and there is no copy yet.
    """
    if config.method not in METHODS:
        raise InvalidOptionError(f"preparation.method must be one of {METHODS}, not {config.method!r}")
    if config.method == "none":
        return FaceCopy(source)
    options = config.upscaling
    if config.method == "lanczos":
        options = replace(options, engine="lanczos")
    upscaler = build_upscaler(options, trainer.accelerator)
    tree = scan_images(source)
    # The name identifies upscaler, folder and state of the source, so that several copies can exist.
    identity = json.dumps([str(source.resolve()), upscaler.describe()], sort_keys=True)
    stem = f"{source.name}-{config.method}-{content_digest([identity.encode()])[:8]}"
    folder = choose_folder(Path(config.folder), stem, tree)
    if on_corrupt == "raise" and not _manifest(folder).get("complete"):
        rank_zero_only(refuse_unreadable)(source, listed, Path(config.folder))
    upscale_tree(tree, folder, options, trainer, upscaler)
    manifest = read_manifest(folder) or {}
    left_out = {entry["name"]: entry["reason"] for entry in manifest["unreadable"]}
    provenance = {
        "folder": folder.name, "settings": manifest["settings"], "source": manifest["source"],
        "left_out": len(left_out), "manifest_sha256": file_digest(folder / MANIFEST),
        "files_sha256": sizes_digest(folder, [name for name in tree.names if name not in left_out]),
    }  # fmt: skip
    return FaceCopy(folder, {name: f"{source / name}: {left_out[name]}" for name in left_out}, provenance)


def choose_folder(parent: Path, stem: str, tree: ImageTree) -> Path:
    """Return the copy of the source's current state, or a new name for it; warn if only an older copy exists.

    The copy's name begins with `stem`, which identifies source and settings.
    """
    wanted = parent / f"{stem}-{tree.digest[:8]}"
    if wanted.exists():
        return wanted
    found = {path: _manifest(path) for path in parent.glob(f"{glob.escape(stem)}*") if path.is_dir()}
    for path, manifest in found.items():
        if manifest.get("source", {}).get("digest") == tree.digest:
            return path
    finished = [path for path, manifest in found.items() if manifest.get("complete")]
    if finished:
        newest = max(finished, key=lambda path: (path / MANIFEST).stat().st_mtime_ns)
        _log.warning(
            "%s has changed since %s was made from it (%s): its faces are enlarged again, into %s. The earlier copy "
            "stays; remove it if you no longer need it",
            tree.root, newest, _change(newest, found[newest], tree), wanted,
        )  # fmt: skip
    return wanted


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        return read_manifest(folder) or {}
    except StaleTreeError:
        return {}  # damaged, so not to be used; its folder is left alone


def _change(copy: Path, manifest: Mapping[str, Any], tree: ImageTree) -> str:
    left_out = {entry["name"] for entry in manifest["unreadable"]}
    before, after = (
        left_out.union(path.relative_to(copy).as_posix() for path in copy.rglob("*.*")),
        set(tree.names),
    )
    before -= {MANIFEST}
    added, removed = sorted(after - before), sorted(before - after - {name for name, _ in tree.rejected})
    parts = [
        f"{len(names)} images {verb}, for example {names[0]}"
        for names, verb in ((added, "added"), (removed, "removed"))
        if names
    ]
    return "; ".join(parts) or "size or time of change of some images"


def refuse_unreadable(source: Path, listed: Sequence[str], folder: Path) -> None:
    """Decode all listed faces below `source`, and stop if one cannot be read; a file in `folder` then lists them.

    Raises:
        UnreadableImageError: If there is one.
    """
    messages = list(unreadable_images(source, listed).values())
    if not messages:
        return
    listing = folder / f"{source.name}-unreadable.txt"
    write_text(listing, "\n".join(messages) + "\n")
    shown = "\n".join(messages[:10])
    raise UnreadableImageError(
        f"{len(messages)} of {len(listed)} faces below {source} cannot be read:\n{shown}\nAll are listed in {listing}. "
        "Restore them, or leave them out with data.on_corrupt=skip"
    )
