"""Disturb a process at its n-th change of a file, start it again, and compare with one that nothing disturbed."""

import hashlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from experiments.runtime.command_line import ending_as_a_command

Work = Callable[[Path], Mapping[str, object]]
"""Does a stage's work below a folder, or goes on with what it finds there, and returns what the work is judged by."""

CHANGES: Final = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate"}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _fill_disk() -> None:
    """Let every write of this process fail from now on, also those of compiled libraries."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@dataclass(frozen=True)
class Fault:
    """A kind of disturbance.

    Attributes:
        cause: Brings it about, just before a change.
        status: Exit status that the process must end with; a full disk may also not matter any more.
        message: What it must print to stderr; nothing if empty.
        cleans_up: Whether the process must leave no temporary file.
    """

    cause: Callable[[], None]
    status: int
    message: str = ""
    cleans_up: bool = True


FAULTS: Final = {
    "SIGKILL": Fault(_kill, -signal.SIGKILL, cleans_up=False),
    "SIGTERM": Fault(_stop, 128 + signal.SIGTERM, "stopped by SIGTERM. Finished work is kept; continue with"),
    "full disk": Fault(_fill_disk, 2, "cannot be written: "),
}
"""By the name that the table gives them."""


@dataclass(frozen=True)
class Undisturbed:
    """What a process gives that nothing disturbs.

    Attributes:
        result: Its result, as text.
        changes: Changes of files that it makes.
    """

    result: str
    changes: int


@dataclass(frozen=True)
class Trials:
    """What the trials of one fault in one stage came to.

    Attributes:
        tried: At which changes a process was disturbed, counted from 1.
        lost: Those after which the first process did not end as it should, or the second one failed or ended with
            another result, each with the reason.
        leftovers: Temporary files that are still there after the second processes.
    """

    tried: Sequence[int]
    lost: Mapping[int, str]
    leftovers: Sequence[Path]

    @property
    def survived(self) -> int:
        """Trials after which the second process ended like an undisturbed one."""
        return len(self.tried) - len(self.lost)


def run_undisturbed(work: Work, place: Path) -> Undisturbed:
    """Run a stage's work, and count its changes of files.

    Args:
        work: The stage.
        place: The folder that it works below; made here.

    Raises:
        RuntimeError: If it fails.
    """
    place.mkdir(parents=True)
    count = 0

    def one_more() -> None:
        nonlocal count
        count += 1

    def run() -> str:
        _before_changes(place, one_more)
        return f"{_text(work(place))}\n{count}"

    status, text, _ = _in_child(run)
    if status:
        raise RuntimeError(f"the undisturbed process failed: {text}")
    result, _, changes = text.rpartition("\n")
    return Undisturbed(result, int(changes))


def try_fault(fault: Fault, work: Work, expected: Undisturbed, folder: Path, count: int | None = None) -> Trials:
    """Disturb the work at file changes spread evenly over its course.

    Args:
        fault: How; it comes before the change.
        work: The stage; every process starts from the state that this one has.
        expected: What an undisturbed process gives.
        folder: Empty folder; each pair of processes works below a folder of its own.
        count: Number of trials; None tries every change.

    Returns:
        The trials.
    """
    step = 1 if count is None else max(1, expected.changes / count)
    tried = sorted({min(expected.changes, 1 + int((each + 0.5) * step)) for each in range(count or expected.changes)})
    lost: dict[int, str] = {}
    leftovers: list[Path] = []
    for number in tried:
        place = folder / f"change{number}"
        place.mkdir(parents=True)
        status, text, printed = _in_child(lambda at=number, to=place: _disturbed(fault, at, work, to))
        reason = "" if status == 0 else _wrong_end(fault, status, text, printed, place)
        if status == 0 and (fault.status != 2 or text != expected.result):
            reason = f"went on with exit status 0:\n{text}"
        if not reason:
            status, text, _ = _in_child(lambda to=place: _text(work(to)))
            if status or text != expected.result:
                reason = f"the second process:\n{text}"
        if reason:
            lost[number] = reason
        leftovers += temporary_files(place)
    return Trials(tried, lost, leftovers)


def digests(root: Path, pattern: str = "*") -> dict[str, str]:
    """Digest every file below a folder whose name matches, by its path; hidden files are left out."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob(pattern))
        if path.is_file() and not path.name.startswith(".")
    }


def temporary_files(root: Path) -> Iterator[Path]:
    """Find what looks like a file in the making; chunks of a feature store, each whole, are none."""
    return (path for path in root.rglob("*") if ".part" in path.name.replace(".partial", ""))


def _disturbed(fault: Fault, number: int, work: Work, place: Path) -> str:
    left = number

    def count_down() -> None:
        nonlocal left
        left -= 1
        if not left:
            fault.cause()

    with ending_as_a_command("trial"):
        _before_changes(place, count_down)
        result = work(place)
    return _text(result)


def _wrong_end(fault: Fault, status: int, text: str, printed: str, place: Path) -> str:
    """Tell in which way a disturbed process did not end as it should; empty if it did."""
    if status != fault.status:
        return f"ended with exit status {status} instead of {fault.status}:\n{printed}{text}"
    if fault.message not in printed or "Traceback" in printed:
        return f"printed:\n{printed}"
    left = list(temporary_files(place)) if fault.cleans_up else []
    return f"left {left[0]}" if left else ""


def _before_changes(place: Path, call: Callable[[], None]) -> None:
    """Call before every change of a file below a folder; for the rest of this process, whose children are left out."""
    process, root = os.getpid(), os.fspath(place.resolve())

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(path, str | bytes | os.PathLike) and bool((flags or 0) & _WRITING)
        else:
            path, changes = (arguments or (None,))[0], event in CHANGES
        if changes and os.getpid() == process:
            absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - which resolves links, an event of its own
            if absolute.startswith(root + os.sep):
                call()

    sys.addaudithook(hook)


def _text(result: Mapping[str, object]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in sorted(result.items()))


def _in_child(run: Callable[[], str]) -> tuple[int, str, str]:
    """Run in a forked process.

    Returns:
        Its exit status, or minus the signal that ended it; what was returned, or the traceback; what went to stderr.
    """
    # Pipes, since a process that cannot write files must still be able to tell so.
    (results, result), (messages, message) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status, text = 1, ""
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(message, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            text, status = run(), 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            text = traceback.format_exc()
        finally:
            sys.stderr.flush()
            os.write(result, text.encode()[:60_000])
            os._exit(status)
    os.close(result)
    os.close(message)
    with os.fdopen(messages) as printed, os.fdopen(results) as returned:
        output, text = printed.read(), returned.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text, output
