"""Progress of a file's transfer: a bar with the rate on a terminal, and two lines in the log."""

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from experiments.runtime.config.load import QUIET
from experiments.runtime.reports.messages import is_rank_zero

_log = logging.getLogger(__name__)


class TransferProgress:
    """Show how far a transfer is; nothing is shown unless there is one. Call it with bytes done and in all.

    Args:
        what: Name of what is transferred.
        source: Its address.
    """

    def __init__(self, what: str, source: str) -> None:
        self._what = what
        self._source = source
        self._bar: Progress | None = None
        self._start = self._last = 0.0
        self._done = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes have arrived; the total may be unknown."""
        self._done = done
        if self._bar is None:
            self._start = time.monotonic()
            _log.info("fetching %s from %s", self._what, self._source)
            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True,
                disable=QUIET in sys.argv or not is_rank_zero() or not sys.stderr.isatty(),
            )  # fmt: skip
            self._bar.add_task(self._what, total=total)
            self._bar.start()
        self._last = time.monotonic()  # what is done with the file afterwards does not count
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def __enter__(self) -> "TransferProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            if error is None:
                seconds = max(self._last - self._start, 1e-3)
                megabytes = self._done / 1e6
                _log.info("%s: %.1f MB in %.1f s (%.1f MB/s)", self._what, megabytes, seconds, megabytes / seconds)
