"""Rows of predictions: what is kept of each picture while a source is read, and the tables at the end.

While a source is read, a chunk of pictures at a time is written to `parts/`, with all that is needed to go on after it:
however a command ends, what is there is complete, and a resumed one makes the same rows.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affect.errors import InvalidFileError
from affect.storage.atomic_write import write_bytes
from datamodules.media.frame import Frame
from experiments.predict.faces import Faces

Labels = Mapping[str, Sequence[str]]
BOX: Final = ("left", "top", "width", "height")
_NOBODY: Final = -1


class Rows:
    """Gathers the rows of pictures: one per face, and one without values for a picture without faces.

    Args:
        labels: Names of each task's columns.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._places: list[tuple[str, int, int, float]] = []
        self._faces: list[NDArray] = []
        self._persons: list[NDArray] = []

    def add(self, frame: Frame, faces: Faces, person: NDArray[np.int64]) -> None:
        """Add a picture, with the number of each face's person."""
        count = max(1, len(faces))
        self._places += [(frame.file, frame.position, frame.number, frame.seconds)] * count
        parts = [faces.confidence[:, None], *(faces.predictions[task] for task in self.labels)]
        values = np.hstack(parts) if len(faces) else np.full((1, sum(part.shape[1] for part in parts)), np.nan)
        self._faces.append(values.astype(np.float32))
        self._persons.append(
            np.column_stack([person, faces.crops]) if len(faces) else np.full((1, 1 + len(BOX)), _NOBODY)
        )

    def table(self) -> pd.DataFrame:
        """Return the rows.

        Returns:
            `file`, `position`, `frame`, `seconds`, `person`, the box, `confidence`, and `task/name` of each prediction.
        """
        place = pd.DataFrame(self._places, columns=["file", "position", "frame", "seconds"])
        persons = pd.DataFrame(np.vstack(self._persons), columns=["person", *BOX])
        persons = persons.astype("Int64").where(persons["person"] != _NOBODY)
        names = [f"{task}/{name}" for task, columns in self.labels.items() for name in columns]
        values = pd.DataFrame(np.vstack(self._faces), columns=["confidence", *names])
        return pd.concat([place, persons, values], axis=1)


@dataclass(frozen=True)
class Progress:
    """Where a source has been read to.

    Attributes:
        position: Of the next picture.
        frames: Pictures looked at so far.
        damage: Messages about what could not be read.
        tracker: The tracker's state.
    """

    position: int = 0
    frames: int = 0
    damage: tuple[str, ...] = ()
    tracker: Mapping[str, NDArray] | None = None


class Parts:
    """Finished chunks of a run.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """List the chunks' files in order."""
        return sorted(self.folder.glob("rows_*.parquet"))

    def add(self, rows: pd.DataFrame, progress: Progress) -> None:
        """Write a chunk: the state after it first, so that rows without one never exist."""
        number = len(self.paths())
        content = io.BytesIO()
        facts = {"position": progress.position, "frames": progress.frames, "damage": list(progress.damage)}
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts)), **(progress.tracker or {})}
        np.savez(content, **arrays)
        write_bytes(self._state(number), content.getbuffer())
        write_bytes(self.folder / f"rows_{number:06d}.parquet", rows.to_parquet(index=False))
        self._state(number - 1).unlink(missing_ok=True)

    def progress(self) -> Progress:
        """Return where to go on.

        Raises:
            InvalidFileError: If the state after the last chunk is missing or damaged.
        """
        number = len(self.paths()) - 1
        if number < 0:
            return Progress()
        path = self._state(number)
        try:
            with np.load(path, allow_pickle=False) as found:
                facts = json.loads(str(found["facts"]))
                tracker = {name: found[name] for name in found.files if name != "facts"}
            return Progress(facts["position"], facts["frames"], tuple(facts["damage"]), tracker or None)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InvalidFileError(f"{path} is damaged ({error}); start again without resume=") from error

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Read the chunks' rows in order."""
        for path in self.paths():
            yield pd.read_parquet(path)

    def _state(self, number: int) -> Path:
        return self.folder / f"state_{number:06d}.npz"
