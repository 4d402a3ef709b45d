"""The upscaler's output: a folder tree with the same file names as its source, and a manifest of how it was made.

Files are written atomically, so an image with the first and last bytes of its format is finished. The manifest is
written when the tree is begun, with `complete: false`, and again when all images are finished.
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
"""First and last bytes by format: JPEG if the name has a JPEG suffix, otherwise PNG."""


class StaleTreeError(UserError):
    """A folder holds a tree with other settings or another source; the message lists the differences."""


class UpscaledTree:
    """A tree of upscaled images.

    Args:
        root: Its folder.
        settings: Settings that affect the pixels, such as network digest and scale; JSON values.
        source_digest: Digest of the states of the source's files (see `affect.storage.fingerprint.states_digest`).
        names: Paths of the source's images relative to its root, `/`-separated.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any], source_digest: str, names: Sequence[str]) -> None:
        self.root = Path(root).resolve()
        self.names = names
        self._identity = {
            "format": _FORMAT,
            "settings": {**settings, "jpeg_quality": JPEG_QUALITY, "pixels": _PIXELS},
            "source": {"digest": source_digest, "images": len(names)},
        }

    def check(self, rebuild: bool = False) -> None:
        """Check that this tree may be written to its folder, without changing anything; any process may call it.

        Raises:
            StaleTreeError: If the folder holds another tree (and `rebuild` is off), or other files without a manifest.
        """
        found = read_manifest(self.root)
        if found is None:
            # Another process may have written the manifest in the meantime.
            present = self.root.iterdir() if self.root.is_dir() else ()
            if any(path.name != MANIFEST and not is_temporary(path) for path in present):
                raise StaleTreeError(
                    f"{self.root} is not empty and has no {MANIFEST} of an upscaled tree; choose another folder"
                )
        elif not rebuild and (differences := self.differences()):
            raise StaleTreeError(
                f"{self.root} was made with other settings or from another source: {'; '.join(differences)}. Choose "
                "another folder, or rebuild it (rebuild=true removes its images first)"
            )

        for folder in {self.root / name.rpartition("/")[0] for name in self.names}:
            if (target := folder.resolve()) != folder:
                raise StaleTreeError(f"{folder} is a link to {target}; remove it or choose another folder")

    def differences(self) -> list[str]:
        """List how the tree in the folder differs from this one; empty if they are equal or there is none."""
        found = read_manifest(self.root)
        return [] if found is None else _differences(found, self._identity)

    def open(self, rebuild: bool = False) -> None:
        """Begin or resume the tree, or `rebuild` it; call it in one process, before any other uses the tree.

        Raises:
            StaleTreeError: As in `check`.
            StorageError: If the manifest cannot be written or an old file cannot be removed.
        """
        self.check(rebuild)
        manifest = self.root / MANIFEST
        with storage_errors(manifest):
            self._remove_files(partial_only=True)
            if self._own_manifest() is not None:
                return
            if manifest.exists():
                # A manifest of neither tree, so that the next run continues the removal if this one is killed.
                write_json(manifest, {"format": _FORMAT, "complete": False})
                self._remove_files(partial_only=False)
            write_json(manifest, {**self._identity, "complete": False, "unreadable": []})

    def is_complete(self) -> bool:
        """Return whether a pass has finished exactly this tree, and all its images are still complete."""
        manifest = self._own_manifest()
        if manifest is None or not manifest["complete"]:
            return False
        left_out = self.known_unreadable()
        return all(name in left_out or self.is_finished(name) for name in self.names)

    def is_finished(self, name: str) -> bool:
        """Return whether an image exists and is complete by its first and last bytes."""
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
        """Return name and reason of each image that a finished pass over the same source could not read."""
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

        The name is kept, since lists and other trees refer to it. The format is JPEG if the name has a JPEG suffix,
        otherwise PNG with any suffix: readers recognise the format by the content.

        Args:
            name: Path relative to the root.
            image: RGB, shape (H, W, 3).

        Raises:
            ValueError: If the name leaves the root or does not have an image suffix.
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
                f"{path} would have {image.shape[1]} x {image.shape[0]} pixels, but the limit of a JPEG's side "
                f"is {_JPEG_LARGEST_SIDE:,}; leave the image out, or make it smaller"
            )
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if file_format == ".jpg" else []
        encoded, content = cv2.imencode(file_format, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise StorageError(f"{path} of shape {image.shape} cannot be encoded")
        write_bytes(path, content.tobytes())

    def finish(self, unreadable: Iterable[tuple[str, str]], reduced: Sequence[str] = ()) -> None:
        """Complete the manifest; call it in one process, after all images have been written.

        Args:
            unreadable: Name and reason of each file of the source that could not be read; duplicates are allowed. Those
                of an earlier pass, which this pass has skipped, remain listed.
            reduced: Names of the source's files with samples of over 8 bits, which were reduced to 8.

        Raises:
            StorageError: If a readable image is missing in the tree, or the manifest cannot be written.
        """
        reasons = self.known_unreadable() | dict(unreadable)
        absent = {name for name in self.names if not self.is_finished(name)}
        missing = sorted(absent - reasons.keys())
        if missing:
            raise StorageError(f"{len(missing)} images are missing in {self.root}, for example {missing[0]}; run again")
        present = set(self.names) - absent  # an image that has become readable is not listed
        entries = [{"name": name, "reason": reason} for name, reason in sorted(reasons.items()) if name not in present]
        write_json(
            self.root / MANIFEST,
            {**self._identity, "complete": True, "unreadable": entries, "reduced_to_8_bits": list(reduced)},
        )

    def _own_manifest(self) -> dict[str, Any] | None:
        """Read the manifest; None if the folder has none, or that of another tree."""
        found = read_manifest(self.root)
        return None if found is None or _differences(found, self._identity) else found

    def _remove_files(self, partial_only: bool) -> None:
        """Remove the temporary files of interrupted writers, or these and all images."""
        for path in [each for each in self.root.rglob("*") if each.suffix.lower() in (*SUFFIXES, ".json")]:
            if path.is_file() and (is_temporary(path) or (not partial_only and path.suffix.lower() in SUFFIXES)):
                path.unlink(missing_ok=True)


def _format_of(name: str) -> str:
    return ".jpg" if Path(name).suffix.lower() in JPEG_SUFFIXES else ".png"


def read_manifest(root: str | Path) -> dict[str, Any] | None:
    """Read the manifest of a tree; None if the folder has none.

    Raises:
        StaleTreeError: If it is damaged or has another format.
    """
    path = Path(root) / MANIFEST
    try:
        manifest = read_json(path, dict[str, Any], "remove the folder or choose another", _FORMAT, StaleTreeError)
    except MissingFileError:
        return None
    for key, kind in _KINDS.items():
        if key in manifest and not isinstance(manifest[key], kind):
            raise StaleTreeError(f"{path} is damaged: key {key!r} is not a {kind.__name__}; remove the folder")
    if "complete" not in manifest or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "reason"))
        for entry in manifest.get("unreadable", [])
    ):
        raise StaleTreeError(f"{path} is damaged: keys are missing; remove the folder or choose another")
    return {"unreadable": [], **manifest}


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List the settings and source values that differ."""
    lines = []
    for part in ("settings", "source"):
        before, after = found.get(part, {}), wanted[part]
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                lines.append(f"{part} {key} was {before.get(key)!r}, now {after.get(key)!r}")
    return lines
