"""Handling of SIGINT and SIGTERM: the current step is finished first, anything else stops at once."""

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
    """Raised when a signal stops the process.

    It is not an Exception, so that error handlers do not catch it, and not a KeyboardInterrupt, which some libraries
    handle themselves.

    Args:
        number: Number of the signal.
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
        """Exit status of a process stopped by the signal, by the convention of shells: 130 or 143."""
        return 128 + self.number


class StopSignals:
    """Receives SIGINT and SIGTERM for the whole process.

    The first signal raises an Interruption in the main thread; between `defer` and `undefer`, `check` raises it. A
    second signal ends the process at once. Forked workers ignore SIGINT, which a terminal sends to them too.

    Attributes:
        number: Number of the signal received; None before.
        children: Processes of the same run that this one has started; the signal is passed on to them.
        is_child: Whether another process of the run has started this one; only that process reacts to a second signal.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.children: list[Popen] = []
        self.is_child = False
        self._deferring = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handle the signals in the block. Does nothing outside the main thread, where Python does not allow it."""
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
        """Whether this process is in the block of `listen`."""
        return signal.getsignal(signal.SIGINT) == self._handle and self._pid == os.getpid()

    def install(self) -> None:
        """Install the handlers, replacing those that a library may have installed in the meantime."""
        for number in _NUMBERS:
            signal.signal(number, self._handle)

    def defer(self) -> None:
        """Defer signals: `check` raises the Interruption from now on."""
        self._deferring = True

    def undefer(self) -> None:
        """Raise the Interruption when the signal arrives from now on."""
        self._deferring = False

    def check(self) -> None:
        """Raise an Interruption if a signal has arrived."""
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
                _write_to_stderr("stopped at once\n")
                os._exit(128 + number)
            return
        self.number = number
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        if not self._deferring:
            raise Interruption(number)
        if not self.is_child:
            name = signal.Signals(number).name
            _write_to_stderr(f"{name}: stopping after the current step; a second signal stops at once\n")


def _write_to_stderr(message: str) -> None:
    """Write to stderr in a signal handler, where `print` is unsafe, and show the cursor, which progress bars hide."""
    shown_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{shown_cursor}\n{message}".encode())


STOP_SIGNALS: Final = StopSignals()
"""The handler of this process."""


def ignore_stop_signals(_: int = 0) -> None:
    """Ignore the signals in a loader's worker, which ends with its main process in any case.

    Otherwise, signals to the process group would end the workers before the main process has finished its step. Used as
    `worker_init_fn`: the argument is the worker's number.
    """
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
