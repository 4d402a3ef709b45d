"""Capture of what C libraries print to standard error while they decode, without the name of the file."""

import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

_Result = TypeVar("_Result")
_STDERR: Final = 2
_lock = threading.Lock()


def with_messages(decode: Callable[[], _Result]) -> tuple[_Result, str]:
    """Call a function of a C library, keeping what it prints off the screen.

    The stream is diverted for the process, so that only one thread at a time does this. It costs some microseconds.

    Args:
        decode: Prints at most a few lines.

    Returns:
        The function's result and what was printed; without a standard error stream, nothing is.
    """
    with _lock:
        try:
            original = os.dup(_STDERR)
        except OSError:  # the stream is closed
            return decode(), ""
        receiving, sending = os.pipe()
        os.set_blocking(sending, False)  # more than fits is lost rather than waited for
        try:
            os.dup2(sending, _STDERR)
            try:
                result = decode()
            finally:
                os.dup2(original, _STDERR)
                os.close(sending)
            os.set_blocking(receiving, False)
            try:
                printed = os.read(receiving, 1 << 16)
            except BlockingIOError:  # a process started meanwhile holds the sending end
                printed = b""
            return result, printed.decode(errors="replace").strip()
        finally:
            os.close(receiving)
            os.close(original)
