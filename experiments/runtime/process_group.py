"""The processes of one run on several devices: when one of them is lost, the others end with a message."""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from subprocess import Popen, TimeoutExpired
from typing import Final

import torch.distributed as dist

from affect.stop_signals import STOP_SIGNALS
from experiments.runtime.reports.messages import warn

_POLL_SECONDS: Final = 0.5
_LOST_CONNECTION: Final = re.compile(r"gloo|nccl|connection (reset|closed|refused)|broken pipe|socket|store", re.I)
_ending = threading.Lock()


def is_child_process() -> bool:
    """Return whether another process of the run on this host, numbered by Lightning, has started this one."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ


@contextlib.contextmanager
def watch_processes(experiment: str, how_to_continue: Callable[[str], str]) -> Iterator[None]:
    """End this process when another one of the run is lost, within the block; `how_to_continue` ends the message.

    Without this, Lightning kills the first process without a message, or the others wait for ever.
    """
    STOP_SIGNALS.is_child = is_child_process()
    done = threading.Event()
    parent = os.getppid()

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            _take_over_from_lightning()
            orphaned = STOP_SIGNALS.is_child and os.getppid() != parent
            lost = None if STOP_SIGNALS.number else _ended_child()
            if (orphaned or lost) and _ending.acquire(blocking=False):
                end_children()
                if lost or os.environ["LOCAL_RANK"] == "1":  # one message is enough
                    warn(f"{_describe(lost)}. {how_to_continue(experiment)}")
                os._exit(1)

    threading.Thread(target=watch, daemon=True, name="process-watch").start()
    try:
        yield
    finally:
        done.set()


def lost_process(error: BaseException) -> str:
    """Describe the lost process that caused an error; empty for any other error.

    Args:
        error: What was raised.
    """
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if not together or not isinstance(error, RuntimeError | OSError) or not _LOST_CONNECTION.search(str(error)):
        return ""
    # The watching thread can name the lost process: give it time to do so and to end this one.
    time.sleep(6 * _POLL_SECONDS)
    _ending.acquire()  # never released: one message is enough
    return _describe(None)


def end_children(patience: float = 0.0) -> None:
    """End the processes that this one has started.

    Args:
        patience: Seconds to wait for them before.
    """
    deadline = time.monotonic() + patience
    for child in STOP_SIGNALS.children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutExpired:
            child.kill()
            child.wait()


def _ended_child() -> Popen | None:
    return next((child for child in STOP_SIGNALS.children if child.poll()), None)


def _describe(child: Popen | None) -> str:
    if child is None:
        return "another process of this run has ended"
    code = child.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    rank = STOP_SIGNALS.children.index(child) + 1
    return f"process {child.pid} of this run (rank {rank}) {how}"


def _take_over_from_lightning() -> None:
    """Watch the processes that Lightning has started in place of its own thread, which kills without a message."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer" and (children := getattr(thread, "_child_processes", [])):
            STOP_SIGNALS.children = list(children)
            thread._child_processes = []  # type: ignore[attr-defined]
