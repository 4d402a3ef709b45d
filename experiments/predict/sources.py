"""The source that an option names."""

import re
from pathlib import Path

from affect.errors import MissingFileError
from affect.storage.image_suffixes import has_image_suffix
from datamodules.media.camera import Camera
from datamodules.media.frame import FrameSource
from datamodules.media.photographs import Photographs
from datamodules.media.video import Video


def open_source(source: str) -> FrameSource:
    """Open a camera, a folder of photographs, a photograph (by its suffix), or a video file.

    Raises:
        MissingFileError: If there is nothing of that name, or no image in the folder.
        UnreadableVideoError: If it is no video, or there is no such camera.
        UnreadableImageError: If a folder cannot be listed.
    """
    if camera := re.fullmatch(r"camera:(\d+)", source):
        return Camera(f"/dev/video{camera[1]}")
    path = Path(source)
    if not path.exists():
        raise MissingFileError(f"source={source}: there is no such file or folder; a camera is named camera:0")
    return Photographs(path) if path.is_dir() or has_image_suffix(path.name) else Video(path)
