"""Writes a feature store in chunks, from one or several processes, and resumes after a stop.

An unfinished store is a folder beside the store's, with one file per chunk. A chunk always holds the same rows and is
computed as one batch, so the finished store has the same bytes regardless of processes and stops.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.errors import MissingFileError, UserError
from affect.storage.atomic_write import write_array, write_json, write_text
from affect.storage.feature_store import FeatureStore, FeatureStoreError, StorePlan, read_rows
from affect.storage.fingerprint import file_digest
from affect.storage.json_file import read_json
from affect.storage.locks import exclusive_lock
from affect.storage.write_errors import StorageError, storage_errors

_CHUNK_FORMAT: Final = 2
"""Chunks of format 1 were written without checking that the image files had not changed."""
_KEPT_SECONDS: Final = 7 * 86400
"""Age at which the chunks of another, stopped run are removed."""


class FeatureStoreWriter:
    """Writes the chunks of a store, in any order and from any process, and merges them.

    Args:
        path: The store's folder; chunks are kept in `<path>.partial` until they are merged.
        plan: Content and sources of the store.
    """

    def __init__(self, path: str | Path, plan: StorePlan) -> None:
        self.path = Path(path)
        self.plan = plan
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._merged = self.path.with_name(self.path.name + ".merging")

    def prepare(self) -> int:
        """Create the folder for chunks, or resume a stopped run with the same plan; call it first, in one process.

        Returns:
            Number of chunks that are already done. Chunks of another plan are removed.
        """
        if not self._has_plan():
            shutil.rmtree(self.partial, ignore_errors=True)
            write_json(self.partial / "plan.json", self._plan_content())
        return self.plan.num_chunks - len(self.pending())

    def check_plan(self) -> None:
        """Compare the plan with that of the process that created the folder for chunks.

        Raises:
            FeatureStoreError: If they differ, since image files have changed in the meantime.
        """
        if not self._has_plan():
            raise FeatureStoreError(
                f"{self.partial} was begun with other image files than this process found; leave the images unchanged "
                "and run again"
            )

    def discard(self, rows: np.ndarray) -> None:
        """Remove the chunks of some rows, so that they are computed again.

        Args:
            rows: Row numbers, any shape.
        """
        for chunk in np.unique(np.asarray(rows) // self.plan.chunk_rows).tolist():
            with storage_errors(self._chunk_file(chunk)):
                self._chunk_file(chunk).unlink(missing_ok=True)

    def pending(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """List the unfinished chunks in the fixed share of one of several processes."""
        return [chunk for chunk in range(rank, self.plan.num_chunks, world_size) if self._read(chunk) is None]

    def write(self, chunk: int, values: np.ndarray, missing: Mapping[str, str]) -> None:
        """Write a chunk.

        Args:
            chunk: Its number.
            values: Its rows, shape (rows of the chunk, D), any float type.
            missing: Reason by image id for rows without an image; these rows become NaN.

        Raises:
            ValueError: If the shape is wrong.
            FeatureStoreError: If a row with an image is not finite in the store's dtype.
            StorageError: If it cannot be written.
        """
        names = self.plan.names[self.plan.rows_of(chunk)]
        if values.shape != (len(names), self.plan.width):
            raise ValueError(f"chunk {chunk} needs shape {(len(names), self.plan.width)}, got {values.shape}")
        with np.errstate(over="ignore"):
            rows = values.astype(self.plan.dtype)
        absent = np.array([name in missing for name in names])
        rows[absent] = np.nan
        if not np.isfinite(rows[~absent]).all():
            bad = names[int(np.flatnonzero(~np.isfinite(rows).all(1) & ~absent)[0])]
            raise FeatureStoreError(f"the features of {bad} are not finite in {self.plan.dtype}")
        # The array is written last: if it exists, so do the reasons.
        with storage_errors(self._reasons_file(chunk)):
            self._reasons_file(chunk).unlink(missing_ok=True)
        if missing:
            write_json(self._reasons_file(chunk), dict(missing))
        write_array(self._chunk_file(chunk), rows)

    def merge(self) -> FeatureStore:
        """Join the chunks into the finished store and remove them; call it in one process, after all are written.

        Raises:
            FeatureStoreError: If a chunk is missing.
            StorageError: If the store cannot be written.
        """
        if left := self.pending():
            raise FeatureStoreError(f"{len(left)} of {self.plan.num_chunks} chunks of {self.path} are not written yet")
        try:
            with storage_errors(self.path):
                self._join()
        finally:
            shutil.rmtree(self._merged, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        return FeatureStore.open(self.path, self.plan, check_content=False)

    def _join(self) -> None:
        merged = self._merged
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        missing: dict[str, str] = {}
        with (merged / "features.npy").open("wb") as file:
            shape = (len(self.plan.names), self.plan.width)
            header = {"descr": np.dtype(self.plan.dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in range(self.plan.num_chunks):
                file.write(np.load(self._chunk_file(chunk)).tobytes())
                missing |= self._reasons(chunk)
            file.flush()
            os.fsync(file.fileno())
        write_text(merged / "names.txt", "\n".join(self.plan.names) + "\n")
        digest = file_digest(merged / "features.npy")
        write_json(merged / "metadata.json", {**self.plan.metadata(), "missing": missing, "sha256": digest})
        shutil.rmtree(self.path, ignore_errors=True)
        merged.rename(self.path)

    def _chunk_file(self, chunk: int) -> Path:
        return self.partial / f"{chunk:06d}.npy"

    def _reasons_file(self, chunk: int) -> Path:
        return self.partial / f"{chunk:06d}.missing.json"

    def _read(self, chunk: int) -> np.ndarray | None:
        rows = read_rows(self._chunk_file(chunk))
        expected = self.plan.rows_of(chunk)
        shape = (expected.stop - expected.start, self.plan.width)
        if rows is None or rows.shape != shape or rows.dtype != self.plan.dtype:
            return None
        try:
            reasons = self._reasons(chunk)
        except UserError:
            return None
        # Exactly the rows without an image must be NaN.
        absent = [name in reasons for name in self.plan.names[expected]]
        return rows if np.array_equal(np.isnan(rows).any(1), absent) else None

    def _reasons(self, chunk: int) -> dict[str, str]:
        try:
            return read_json(self._reasons_file(chunk), dict[str, str], "delete it")
        except MissingFileError:
            return {}

    def _has_plan(self) -> bool:
        try:
            return read_json(self.partial / "plan.json", dict[str, Any], "delete it") == self._plan_content()
        except UserError:
            return False

    def _plan_content(self) -> dict[str, Any]:
        return {**self.plan.metadata(), "chunk_format": _CHUNK_FORMAT}


def lock_path(path: Path) -> Path:
    """Return the file that a process locks while it writes the store at `path`."""
    return path.with_name(f".{path.name}.lock")


def remove_leftovers(path: Path) -> None:
    """Remove the chunks that stopped runs left: those of this store, and those of its siblings after a week.

    Chunks of a store that another process has locked are kept.

    Args:
        path: Folder of a finished store; its siblings, made from the same images with other settings, are in the
            folders beside its parent.
    """
    for leftover in [*path.parent.parent.glob("*/*.partial"), *path.parent.parent.glob("*/*.merging")]:
        owner = leftover.with_suffix("")
        with contextlib.suppress(_InUseError, StorageError, FileNotFoundError):
            age = time.time() - leftover.stat().st_mtime
            if owner == path or age > _KEPT_SECONDS:
                with exclusive_lock(lock_path(owner), _raise_in_use):
                    shutil.rmtree(leftover, ignore_errors=True)


class _InUseError(Exception):
    """Another process writes the store."""


def _raise_in_use() -> None:
    raise _InUseError
