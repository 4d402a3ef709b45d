"""Capture of what C libraries print to standard error while they decode, without the name of the file."""

import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

_Result = TypeVar("_Result")
_STDERR: Final = 2
_lock = threading.Lock()


def with_messages(decode: Callable[[], _Result]) -> tuple[_Result, str]:
    """Call a function of a C library, and capture what it prints to stderr, at most a few lines.

    Stderr is redirected for the whole process, under a lock. This takes some microseconds.

    Returns:
        The function's result and the captured text, empty if stderr is closed.
    """
    with _lock:
        try:
            original = os.dup(_STDERR)
        except OSError:  # the stream is closed
            return decode(), ""
        receiving, sending = os.pipe()
        os.set_blocking(sending, False)  # text beyond the pipe's capacity is dropped
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
            except BlockingIOError:  # a child process holds the sending end open
                printed = b""
            return result, printed.decode(errors="replace").strip()
        finally:
            os.close(receiving)
            os.close(original)
