"""A progress bar that counts frames."""

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from callbacks.image_progress import PaceColumn


@contextlib.contextmanager
def frame_progress(title: str, total: int | None, done: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show frames done, frames per second and the time left.

    Args:
        title: What is done.
        total: Frames in all; None where that is unknown.
        done: Frames that an earlier run has done.
        shown: Whether to show anything.

    Yields:
        A function that counts frames that have been done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), PaceColumn("frames"))
    with Progress(*columns, transient=True, disable=not shown) as bar:
        task = bar.add_task(title, total=None if total is None else total - done)
        yield lambda count: bar.advance(task, count)
