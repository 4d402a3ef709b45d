"""Writing a feature store chunk by chunk, from several processes, with stops in between.

While a store grows, its chunks lie in a folder beside it, one file each. A chunk always holds the same rows and is
computed as one batch, whoever computes it and whenever: the finished store is the same byte for byte.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from affect.atomic import write_array, write_json, write_text
from affect.backbone_file import file_digest
from affect.feature_store import FeatureStore, FeatureStoreError, StorePlan
from affect.storage import storage_errors


class FeatureStoreWriter:
    """Writes the chunks of a store, in any order and from any process, and merges them.

    Args:
        path: The store's folder; chunks are kept in `<path>.partial` until merged.
        plan: What to write.
    """

    def __init__(self, path: str | Path, plan: StorePlan) -> None:
        self.path = Path(path)
        self.plan = plan
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._merged = self.path.with_name(self.path.name + ".merging")

    def prepare(self) -> int:
        """Make the folder for chunks, going on with a stopped run of the same plan; call it in one process, first.

        Returns:
            Number of chunks that are there already. Chunks of another plan are removed.
        """
        metadata = self.plan.metadata()
        try:
            same = json.loads((self.partial / "plan.json").read_text(encoding="utf-8")) == metadata
        except (OSError, ValueError):
            same = False
        if not same:
            shutil.rmtree(self.partial, ignore_errors=True)
            write_json(self.partial / "plan.json", metadata)
        return self.plan.num_chunks - len(self.pending())

    def pending(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """List the chunks left to do for one of several processes; which ones are its own never depends on the rest."""
        return [chunk for chunk in range(rank, self.plan.num_chunks, world_size) if self._read(chunk) is None]

    def write(self, chunk: int, values: np.ndarray, missing: Mapping[str, str]) -> None:
        """Write a chunk.

        Args:
            chunk: Its number.
            values: Its rows, shape (rows of the chunk, D), any float type.
            missing: Reason by image id for rows that have no image; they become NaN.

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
        # The array comes last: where it stands, the reasons stand too.
        with storage_errors(self._reasons_file(chunk)):
            self._reasons_file(chunk).unlink(missing_ok=True)
        if missing:
            write_json(self._reasons_file(chunk), dict(missing))
        write_array(self._chunk_file(chunk), rows)

    def merge(self) -> FeatureStore:
        """Join the chunks into the finished store and remove them; call it in one process, when all are written.

        Raises:
            FeatureStoreError: If a chunk is missing.
            StorageError: If the store cannot be written.
        """
        if left := self.pending():
            raise FeatureStoreError(
                f"{len(left)} of {self.plan.num_chunks} chunks of {self.path} are not done yet"
            )
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
                if self._reasons_file(chunk).is_file():
                    missing |= json.loads(self._reasons_file(chunk).read_text(encoding="utf-8"))
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
        try:
            rows = np.load(self._chunk_file(chunk), mmap_mode="r")
        except (OSError, EOFError, ValueError):
            return None
        expected = self.plan.rows_of(chunk)
        whole = (
            rows.shape == (expected.stop - expected.start, self.plan.width) and rows.dtype == self.plan.dtype
        )
        return rows if whole else None
