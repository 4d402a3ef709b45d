"""Reading ahead in a thread, so that decoding and computing go on at the same time."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
_END: Final = object()


def read_ahead(items: Iterable[Item], capacity: int) -> Generator[Item]:
    """Yield the items of an iterable that a thread takes from it ahead of need.

    Args:
        items: The iterable, which is used in the thread only.
        capacity: Most items that wait.

    Raises:
        BaseException: What the iterable raises, at its place in the sequence.
    """
    waiting: queue.Queue[Any] = queue.Queue(capacity)
    stopped = threading.Event()

    def put(entry: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
        except BaseException as error:  # raised again by the reader
            put((_END, error))
        else:
            put((_END, None))

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
