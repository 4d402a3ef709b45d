"""A camera of this machine (Video4Linux), read as a video without end."""

from collections.abc import Iterator
from typing import Any

import av

from datamodules.media.frame import Frame
from datamodules.media.video import Video


class Camera(Video):
    """A camera. While a picture is being looked at, the driver drops those that it has no room for.

    Args:
        device: Its device file, such as `/dev/video0`.
        container_format: Its driver in FFmpeg; None for a file in a camera's place.

    Raises:
        UnreadableVideoError: If there is no such camera, or it cannot be opened.
    """

    def __init__(self, device: str, container_format: str | None = "v4l2") -> None:
        self._driver = container_format
        super().__init__(device)

    @property
    def num_frames(self) -> None:
        """None: the user ends it."""
        return None

    def frames(self, start: int = 0, every: int = 1) -> Iterator[Frame]:
        """Yield pictures from now on; none if `start` is not 0, since what it saw before cannot be seen again."""
        return super().frames(start, every) if not start else iter(())

    def _container(self) -> Any:
        return av.open(str(self.path), format=self._driver)
