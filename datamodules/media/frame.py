"""A picture of a source, and what a source of pictures is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A picture.

    Attributes:
        file: Name of its file, relative to the source's folder.
        position: Position in the source, from 0; unreadable photographs have one too.
        number: Position in its file, from 0.
        seconds: Time since the file's start by its own time stamps; NaN for a photograph, or without a time stamp.
        image: RGB values, upright, square pixels, shape (H, W, 3), uint8.
    """

    file: str
    position: int
    number: int
    seconds: float
    image: NDArray[np.uint8] = field(repr=False)


class FrameSource(Protocol):
    """A source of pictures.

    Attributes:
        moves: Whether its pictures follow one another, so that a face in two of them may be the same person.
        damage: What could not be read so far, a message each.
    """

    moves: bool
    damage: list[str]

    @property
    def num_frames(self) -> int | None:
        """Number of pictures as far as it is known beforehand."""
        ...

    def frames(self, start: int = 0, every: int = 1) -> Iterator[Frame]:
        """Yield pictures in order.

        Args:
            start: Positions that are passed over.
            every: Yield the pictures whose position is a multiple of this.
        """
        ...
