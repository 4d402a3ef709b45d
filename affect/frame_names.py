"""Image ids of the form `video/00001.jpg`: validation, and the video and frame number of each id."""

from collections.abc import Sequence

import numpy as np


def name_fault(name: str) -> str | None:
    """Return why an image id cannot be used, or None if it can.

    An id is a relative POSIX path of at least a folder (the video) and a file whose stem is the frame number. It must
    not lead out of the folder that it is relative to.
    """
    if not name:
        return "the image name is empty"
    if "\\" in name or "\0" in name or not name.isprintable():
        return f"image name {name!r} contains a backslash or an unprintable character"
    if name.startswith(("/", "~")) or (len(name) > 1 and name[1] == ":"):
        return f"image name {name!r} is an absolute path; it must be relative to the image folder"
    folder, _, file = name.rpartition("/")
    if any(part in ("", ".", "..") for part in name.split("/")) and folder:
        return f"image name {name!r} has an empty, '.' or '..' part; it must stay inside the image folder"
    if not folder:
        return f"image name {name!r} has no video folder; expected video/frame.jpg"
    stem = file.partition(".")[0]
    if not (stem.isascii() and stem.isdigit()):
        return f"image name {name!r} has no frame number; expected video/00001.jpg"
    if len(stem) > 18:
        return f"image name {name!r} has a frame number of more than 18 digits"
    return None


def video_of(name: str) -> str:
    """Return the video of an image id: everything before the last slash."""
    return name.rpartition("/")[0]


def frame_of(name: str) -> int:
    """Return the frame number of an image id.

    Raises:
        ValueError: If the file name does not start with a number.
    """
    return int(name.rpartition("/")[2].partition(".")[0])


def locate_frames(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Split image ids into video and frame numbers.

    Args:
        names: N image ids, `video/00001.jpg`.

    Returns:
        Number of the video, in order of first appearance, and frame number, both of shape (N,), int64.

    Raises:
        ValueError: If an id has no frame number.
    """
    numbers: dict[str, int] = {}
    video = np.fromiter((numbers.setdefault(video_of(name), len(numbers)) for name in names), np.int64, len(names))
    return video, np.fromiter((frame_of(name) for name in names), np.int64, len(names))
