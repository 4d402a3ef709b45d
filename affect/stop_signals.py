"""SIGINT and SIGTERM: a running step is finished first, everything else stops at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from subprocess import Popen
from typing import Any, Final

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption(BaseException):
    """A signal asks the process to stop.

    Not an Exception, so that no handler of errors catches it, and not a KeyboardInterrupt, which libraries handle in
    ways of their own.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name

    @property
    def exit_status(self) -> int:
        """Exit status of a process that the signal has stopped, as shells give it: 130 or 143."""
        return 128 + self.number


class StopSignals:
    """Receives SIGINT and SIGTERM for the whole process.

    The first signal raises an Interruption in the main thread, or waits for `check` between `defer` and `undefer`.
    A second one ends the process at once. Forked workers ignore SIGINT, which a terminal sends to them too.

    Attributes:
        number: Of the signal received; None before.
        children: Processes of the same run that this one has started, and to which it passes the signal on.
        is_child: Whether another process of the run has started this one; further signals are then left to that one.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.children: list[Popen] = []
        self.is_child = False
        self._deferring = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handle the signals within the block; outside the main thread, which alone may do so, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _NUMBERS}
        self.number, self._deferring, self._pid, self.children = None, False, os.getpid(), []
        self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.number, self._deferring = None, False

    @property
    def is_listening(self) -> bool:
        """Whether this process is within the block of `listen`."""
        return signal.getsignal(signal.SIGINT) == self._handle and self._pid == os.getpid()

    def install(self) -> None:
        """Take the signals, also from a library that has taken them in the meantime."""
        for number in _NUMBERS:
            signal.signal(number, self._handle)

    def defer(self) -> None:
        """From now on a signal waits for `check`."""
        self._deferring = True

    def undefer(self) -> None:
        """From now on a signal raises an Interruption."""
        self._deferring = False

    def check(self) -> None:
        """Raise an Interruption if a signal has come."""
        if self.number is not None:
            raise Interruption(self.number)

    def _handle(self, number: int, _: Any) -> None:
        if os.getpid() != self._pid:  # a forked worker
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.number is not None:
            if not self.is_child:
                _tell("stopped at once\n")
                os._exit(128 + number)
            return
        self.number = number
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        if not self._deferring:
            raise Interruption(number)
        if not self.is_child:
            name = signal.Signals(number).name
            _tell(f"{name}: stopping after the current step; a second signal stops at once\n")


def _tell(message: str) -> None:
    """Write to stderr within a signal handler, where printing is not allowed; a progress bar has hidden the cursor."""
    shown_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{shown_cursor}\n{message}".encode())


STOP_SIGNALS: Final = StopSignals()
"""Those of this process."""


def ignore_stop_signals(_: int = 0) -> None:
    """Leave it to the main process to stop a loader's worker: signals to the whole group would end workers first.

    A worker ends with its main process in any case. The argument is the worker's number, as a DataLoader gives it.
    """
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
