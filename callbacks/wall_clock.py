"""Duration of a run without the time between a stop and a resume."""

import time
from typing import Any

from pytorch_lightning.callbacks import Callback


class WallClock(Callback):
    """Count the seconds of a run since construction, plus those stored in a resumed checkpoint.

    All fits of a run share one clock.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._earlier = 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._earlier + time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """Save the count."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add an earlier process's count; of several fits' checkpoints, that of the last."""
        self._earlier = max(self._earlier, state_dict["seconds"])
