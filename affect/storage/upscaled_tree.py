"""The upscaler's output: a folder tree that mirrors its source, and the manifest that says how it was made.

Every file appears whole or not at all, so that whatever is there, and ends as its format ends, is finished. The
manifest is written when the tree is begun, with `complete: false`, and again when it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from affect.errors import MissingFileError, UserError
from affect.storage.atomic_write import is_temporary, write_bytes, write_json
from affect.storage.image_suffixes import JPEG_SUFFIXES, SUFFIXES
from affect.storage.json_file import read_json
from affect.storage.write_errors import StorageError, storage_errors

MANIFEST: Final = "manifest.json"
JPEG_QUALITY: Final = 95
_JPEG_LARGEST_SIDE: Final = 65_500
_PIXELS: Final = "upright, transparency on white, 8 bits, grey kept"
_FORMAT: Final = "upscaled-tree-1"
_KINDS: Final[dict[str, type]] = {"settings": dict, "source": dict, "complete": bool, "unreadable": list}
_ENDS: Final = {".png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"), ".jpg": (b"\xff\xd8", b"\xff\xd9")}
"""First and last bytes by format: JPEG where the name has a suffix of JPEG, otherwise PNG."""


class StaleTreeError(UserError):
    """A folder holds images made otherwise than asked for; the message says what differs."""


class UpscaledTree:
    """A mirrored tree of upscaled images.

    Args:
        root: Its folder.
        settings: What made the pictures: network digest, scale and the like; plain values.
        source_digest: Identifies the source's files.
        names: Paths of the source's images relative to its root, `/`-separated.
    """

    def __init__(
        self, root: str | Path, settings: Mapping[str, Any], source_digest: str, names: Sequence[str]
    ) -> None:
        self.root = Path(root).resolve()
        self.names = names
        self._identity = {
            "format": _FORMAT,
            "settings": {**settings, "jpeg_quality": JPEG_QUALITY, "pixels": _PIXELS},
            "source": {"digest": source_digest, "images": len(names)},
        }

    def check(self, rebuild: bool = False) -> None:
        """Refuse a folder that this tree must not use; changes nothing, so that every process may ask.

        Args:
            rebuild: Accept a tree that was made otherwise.

        Raises:
            StaleTreeError: If the folder holds another tree (and `rebuild` is off), or files that are no tree's.
        """
        found = read_manifest(self.root)
        if found is None:
            # The manifest itself may have come since: another process has just begun the tree.
            present = self.root.iterdir() if self.root.is_dir() else ()
            if any(path.name != MANIFEST and not is_temporary(path) for path in present):
                raise StaleTreeError(
                    f"{self.root} is not empty and has no {MANIFEST} of an upscaled tree; choose another"
                )
        elif not rebuild and (differences := self.differences()):
            raise StaleTreeError(
                f"{self.root} was made otherwise: {'; '.join(differences)}. Choose another folder, or rebuild it "
                "(rebuild=true removes its images first)"
            )

        for folder in {self.root / name.rpartition("/")[0] for name in self.names}:
            if (target := folder.resolve()) != folder:
                raise StaleTreeError(f"{folder} is a link to {target}; remove it or choose another folder")

    def differences(self) -> list[str]:
        """Tell how the tree that the folder holds was made otherwise; empty if it was not, or there is none."""
        found = read_manifest(self.root)
        return [] if found is None else _differences(found, self._identity)

    def open(self, rebuild: bool = False) -> None:
        """Begin the tree, or go on with it; for one process, before any other uses it.

        Args:
            rebuild: Remove a tree that was made otherwise instead of refusing it.

        Raises:
            StaleTreeError: If the folder holds another tree (and `rebuild` is off), or files that are no tree's.
            StorageError: If the manifest cannot be written, or an old file not be removed.
        """
        self.check(rebuild)
        manifest = self.root / MANIFEST
        with storage_errors(manifest):
            self._remove_files(partial_only=True)
            if self._own_manifest() is not None:
                return
            if manifest.exists():
                # Neither the old tree nor the new: killed while removing, the next run goes on removing.
                write_json(manifest, {"format": _FORMAT, "complete": False})
                self._remove_files(partial_only=False)
            write_json(manifest, {**self._identity, "complete": False, "unreadable": []})

    def is_complete(self) -> bool:
        """Tell whether a pass has finished this very tree, and every image of it is whole still."""
        manifest = self._own_manifest()
        if manifest is None or not manifest["complete"]:
            return False
        left_out = self.known_unreadable()
        return all(name in left_out or self.is_finished(name) for name in self.names)

    def is_finished(self, name: str) -> bool:
        """Tell whether an image is there, and whole as far as its first and last bytes show."""
        start, end = _ENDS[_format_of(name)]
        try:
            with (self.root / name).open("rb") as file:
                if file.read(len(start)) != start:
                    return False
                file.seek(-len(end), 2)
                return file.read() == end
        except OSError:
            return False

    def known_unreadable(self) -> dict[str, str]:
        """Return names and reasons of what a finished pass over the same source left out."""
        found = self._own_manifest()
        if found is None or not found["complete"]:
            return {}
        return {entry["name"]: entry["reason"] for entry in found["unreadable"]}

    def known_reduced(self) -> list[str]:
        """Return the names of images whose samples a finished pass reduced to 8 bits."""
        found = self._own_manifest()
        return [] if found is None else found.get("reduced_to_8_bits", [])

    def write(self, name: str, image: NDArray[np.uint8]) -> None:
        """Write one image; safe to call from several threads and processes.

        It keeps its name, by which lists and other trees refer to it. JPEG holds it where the name has a suffix of
        JPEG, otherwise PNG, whatever the suffix: readers go by the content.

        Args:
            name: Path relative to the root.
            image: RGB, shape (H, W, 3).

        Raises:
            ValueError: If the name leaves the root or has another suffix.
            StorageError: If the file cannot be written.
        """
        path = self.root / name
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{name} has none of the suffixes {', '.join(SUFFIXES)}")
        if not path.parent.resolve().is_relative_to(self.root):
            raise ValueError(f"{name} leaves the folder {self.root}")
        file_format = _format_of(name)
        if file_format == ".jpg" and max(image.shape) > _JPEG_LARGEST_SIDE:
            raise StorageError(
                f"{path} would have {image.shape[1]} x {image.shape[0]} pixels, but a side of a JPEG may have "
                f"{_JPEG_LARGEST_SIDE:,}; leave the image out, or make it smaller"
            )
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if file_format == ".jpg" else []
        encoded, content = cv2.imencode(file_format, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise StorageError(f"{path} of shape {image.shape} cannot be encoded")
        write_bytes(path, content.tobytes())

    def finish(self, unreadable: Iterable[tuple[str, str]], reduced: Sequence[str] = ()) -> None:
        """Complete the manifest; for one process, after all have written.

        Args:
            unreadable: Names and reasons of the source's files that could not be read, repeated or not; what an
                earlier pass found, and this one skipped, stays listed.
            reduced: Names of the source's files whose samples of over 8 bits were reduced.

        Raises:
            StorageError: If an image that could be read is missing, or the manifest cannot be written.
        """
        reasons = self.known_unreadable() | dict(unreadable)
        absent = {name for name in self.names if not self.is_finished(name)}
        missing = sorted(absent - reasons.keys())
        if missing:
            raise StorageError(
                f"{len(missing)} images are missing in {self.root}, for example {missing[0]}; run again"
            )
        present = set(self.names) - absent  # an image that could be read after all is not listed
        entries = [
            {"name": name, "reason": reason}
            for name, reason in sorted(reasons.items())
            if name not in present
        ]
        write_json(
            self.root / MANIFEST,
            {**self._identity, "complete": True, "unreadable": entries, "reduced_to_8_bits": list(reduced)},
        )

    def _own_manifest(self) -> dict[str, Any] | None:
        """Read the manifest; None while the folder has none, or that of a tree made otherwise."""
        found = read_manifest(self.root)
        return None if found is None or _differences(found, self._identity) else found

    def _remove_files(self, partial_only: bool) -> None:
        """Remove what interrupted writers left, or all images."""
        for path in [each for each in self.root.rglob("*") if each.suffix.lower() in (*SUFFIXES, ".json")]:
            if path.is_file() and (
                is_temporary(path) or (not partial_only and path.suffix.lower() in SUFFIXES)
            ):
                path.unlink(missing_ok=True)


def _format_of(name: str) -> str:
    return ".jpg" if Path(name).suffix.lower() in JPEG_SUFFIXES else ".png"


def read_manifest(root: str | Path) -> dict[str, Any] | None:
    """Read the manifest of a tree; None if the folder has none.

    Raises:
        StaleTreeError: If it is damaged, or another program's.
    """
    path = Path(root) / MANIFEST
    try:
        manifest = read_json(
            path, dict[str, Any], "remove the folder or choose another", _FORMAT, StaleTreeError
        )
    except MissingFileError:
        return None
    for key, kind in _KINDS.items():
        if key in manifest and not isinstance(manifest[key], kind):
            raise StaleTreeError(f"{path} is damaged: key {key!r} is no {kind.__name__}; remove the folder")
    if "complete" not in manifest or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "reason"))
        for entry in manifest.get("unreadable", [])
    ):
        raise StaleTreeError(f"{path} is damaged: keys are missing; remove the folder or choose another")
    return {"unreadable": [], **manifest}


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say which settings or source facts differ."""
    lines = []
    for part in ("settings", "source"):
        before, after = found.get(part, {}), wanted[part]
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                lines.append(f"{part} {key} was {before.get(key)!r}, now {after.get(key)!r}")
    return lines
