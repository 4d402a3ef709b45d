"""Survey of the state of image files without reading them, to detect changes while features are extracted."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.frame_names import video_of
from affect.storage.fingerprint import frame_states_digest
from datamodules.images.dataset import InaccessibleImageError

NO_FILE: Final = -1


@dataclass(frozen=True)
class FrameSurvey:
    """State of the files of an image list at one moment.

    Attributes:
        folder: Folder that the names are relative to.
        names: Image ids, N of them.
        states: Size in bytes, time of the last write and time of the last change of content or attributes, both in
            nanoseconds, shape (N, 3), int64; NO_FILE if it is not a regular file.
        digest: `frame_states_digest` of the files.
    """

    folder: Path
    names: Sequence[str] = field(repr=False)
    states: NDArray[np.int64] = field(repr=False)
    digest: str

    @property
    def missing(self) -> list[str]:
        """Image ids that have no file."""
        return [self.names[row] for row in np.flatnonzero(self.states[:, 0] == NO_FILE).tolist()]

    def changed_rows(self) -> NDArray[np.int64]:
        """Survey again and return the rows of files that were written, replaced, removed or added since.

        Raises:
            InaccessibleImageError: If a folder cannot be listed.
        """
        return np.flatnonzero((survey_frames(self.folder, self.names).states != self.states).any(1))


def survey_frames(folder: str | Path, names: Sequence[str]) -> FrameSurvey:
    """Survey the image files of a list of ids below a folder.

    Raises:
        InaccessibleImageError: If a folder cannot be listed.
    """
    by_video: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        by_video[video_of(name)].append(row)
    states = np.full((len(names), 3), NO_FILE, np.int64)
    found_states: list[tuple[str, tuple[int, int] | None]] = []
    for video, rows in by_video.items():
        found = _file_states(Path(folder) / video)
        for row in rows:
            state = found.get(names[row].rpartition("/")[2])
            found_states.append((names[row], None if state is None else state[:2]))
            if state is not None:
                states[row] = state
    return FrameSurvey(Path(folder), names, states, frame_states_digest(found_states))


def check_unchanged(path: Path, expected: Sequence[int] | NDArray[np.int64], found: os.stat_result) -> None:
    """Compare a file that was opened and read with its state in the survey.

    The time of the last change is compared too: programs can set the time of the last write, but not that one.

    Raises:
        InaccessibleImageError: If it is another file, or was written in between.
    """
    if _state(found) != tuple(expected):
        raise InaccessibleImageError(
            f"{path}: changed since this run began; do not change the images until the run has ended, and run again"
        )


def _file_states(folder: Path) -> dict[str, tuple[int, int, int]]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: _state(entry.stat()) for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InaccessibleImageError(f"{folder}: {error.strerror or error}") from error


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
