"""The source that an option names."""

from pathlib import Path

from affect.errors import MissingFileError
from affect.storage.image_suffixes import has_image_suffix
from datamodules.media.frame import FrameSource
from datamodules.media.photographs import Photographs
from datamodules.media.video import Video


def open_source(source: str) -> FrameSource:
    """Open a photograph (by its suffix), a folder of them, a video file, or a camera.

    Raises:
        MissingFileError: If there is nothing of that name, or no image in the folder.
        UnreadableVideoError: If it is no video.
        UnreadableImageError: If a folder cannot be listed.
    """
    path = Path(source)
    if not path.exists():
        raise MissingFileError(f"source={source}: there is no such file or folder")
    return Photographs(path) if path.is_dir() or has_image_suffix(path.name) else Video(path)
