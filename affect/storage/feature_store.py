"""The feature store: one row of features per image, in a memory-mapped array with a record of its sources.

A finished store is a folder with `features.npy` (N, D), `names.txt` (an image id per line, in the order of rows) and
`metadata.json`. It is written by `affect.storage.feature_store_writer`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.errors import MissingFileError, UserError
from affect.storage.fingerprint import content_digest, file_digest
from affect.storage.json_file import json_content, read_json

FORMAT: Final = "mt-emotieffnet-features/1"
DTYPES: Final = ("float32", "float16")


class FeatureStoreError(UserError):
    """A store is missing, damaged, or made from other sources; the message contains the cause and the remedy."""


@dataclass(frozen=True)
class StorePlan:
    """Content and sources of a store; two stores with equal plans are interchangeable.

    Attributes:
        names: Image ids, one per row, unique.
        columns: Name and width of each group of columns, in order.
        sources: What the features depend on: digests of the backbone and the images, the transform.
        dtype: `float32`, or `float16` for half the size.
        chunk_rows: Rows that are computed together as one batch.

    Raises:
        ValueError: If there is no name, a name is repeated, `dtype` is unknown or `chunk_rows` is not positive.
    """

    names: Sequence[str] = field(repr=False)
    columns: Mapping[str, int]
    sources: Mapping[str, Any]
    dtype: str = "float32"
    chunk_rows: int = 64

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"a store needs unique names; got {len(self.names)}, of which {len(set(self.names))} differ"
            )
        if self.dtype not in DTYPES or self.chunk_rows < 1:
            raise ValueError(f"dtype must be one of {DTYPES} and chunk_rows positive, got {self}")

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(self.columns.values())

    @property
    def num_chunks(self) -> int:
        """Number of chunks; the last may be short."""
        return -(-len(self.names) // self.chunk_rows)

    def rows_of(self, chunk: int) -> slice:
        """Return the rows of a chunk."""
        return slice(chunk * self.chunk_rows, min((chunk + 1) * self.chunk_rows, len(self.names)))

    def metadata(self) -> dict[str, Any]:
        """Return the plan as JSON values, with a digest in place of the names."""
        fields = asdict(self)
        fields["names"] = content_digest(["\n".join(self.names).encode()])
        return {"format": FORMAT, "rows": len(self.names), **json.loads(json.dumps(fields))}


class FeatureStore:
    """A finished store, opened for reading by `FeatureStore.open`.

    Attributes:
        features: Rows, shape (N, D), memory-mapped; a row is NaN if its image could not be read.
        names: Image ids in the order of rows.
        metadata: The plan's metadata with `missing` (reason by image id) and `sha256` of the array file.
    """

    def __init__(self, features: np.ndarray, names: list[str], metadata: dict[str, Any]) -> None:
        self.features = features
        self.names = names
        self.metadata = metadata

    @property
    def missing(self) -> dict[str, str]:
        """Reason by image id for each image that could not be read."""
        return self.metadata["missing"]

    @classmethod
    def open(cls, path: str | Path, plan: StorePlan | None = None, check_content: bool = True) -> "FeatureStore":
        """Open a store and verify it.

        Args:
            path: The store's folder.
            plan: Plan that the store must have; None accepts any.
            check_content: Also compare the array file with its digest, which reads it once.

        Raises:
            FeatureStoreError: If it is missing, incomplete, damaged, or has another plan.
        """
        path = Path(path)
        try:
            described = read_json(path / "metadata.json", _Metadata, "delete the store", FORMAT, FeatureStoreError)
            names_text = (path / "names.txt").read_text(encoding="utf-8")
        except (MissingFileError, OSError, ValueError) as error:
            raise FeatureStoreError(f"no complete feature store at {path} ({error})") from error
        features = read_rows(path / "features.npy")
        metadata = {"format": FORMAT, **asdict(described)}
        wanted = {} if plan is None else plan.metadata()
        wanted.pop("chunk_rows", None)  # does not affect the result
        if differing := _differences(metadata, wanted):
            raise FeatureStoreError(f"{path} was made from other sources: {', '.join(differing)} changed")
        names = names_text.rstrip("\n").split("\n")
        digest = content_digest([names_text.rstrip("\n").encode()])
        shape = (metadata["rows"], sum(metadata["columns"].values()))
        damaged = (
            features is None
            or digest != metadata["names"]
            or features.shape != shape
            or features.dtype != metadata["dtype"]
            or not metadata["missing"].keys() <= set(names)
        )
        if damaged or (check_content and file_digest(path / "features.npy") != metadata["sha256"]):
            raise FeatureStoreError(f"{path} is damaged: its files have changed since they were written; delete it")
        assert features is not None
        return cls(features, names, metadata)

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Return the row of each image id, shape (len(names),), int64.

        Raises:
            FeatureStoreError: If the store lacks an id.
        """
        row_of = {name: row for row, name in enumerate(self.names)}
        try:
            return np.fromiter((row_of[name] for name in names), np.int64, len(names))
        except KeyError as error:
            raise FeatureStoreError(f"the store has no image {error.args[0]!r}") from error


@json_content
@dataclass(frozen=True)
class _Metadata:
    """Content of `metadata.json`: the plan, with a digest in place of the names, and the result."""

    rows: int
    names: str
    columns: dict[str, int]
    sources: dict[str, Any]
    dtype: str
    chunk_rows: int
    missing: dict[str, str]
    sha256: str


def read_rows(path: Path) -> np.ndarray | None:
    """Open an array file memory-mapped; None if it is missing or damaged."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # a damaged header fails in many ways: ValueError, SyntaxError, OverflowError, ...
        return None
    return rows if isinstance(rows, np.ndarray) else None


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the keys of `wanted` whose value in `found` differs, with dotted names for nested mappings."""
    names = []
    for key, value in wanted.items():
        other = found.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            names += _differences(other, value, f"{prefix}{key}.")
        elif other != value:
            names.append(prefix + key)
    return names
