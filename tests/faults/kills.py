"""Kill a process at its n-th change of a file, start it again, and compare with one that nothing disturbed."""

import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Work = Callable[[Path], Mapping[str, object]]
"""Does a stage's work below a folder, or goes on with what it finds there, and returns what the work is judged by."""

CHANGES: Final = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate"}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Trials:
    """What the kills of one stage came to.

    Attributes:
        changes: Changes of files that an undisturbed process makes.
        tried: At which of them a process was killed, counted from 1.
        lost: Those after which the second process failed or ended with another result, each with the reason.
        leftovers: Temporary files that are still there after the second processes.
    """

    changes: int
    tried: Sequence[int]
    lost: Mapping[int, str]
    leftovers: int

    @property
    def survived(self) -> int:
        """Kills after which the second process ended like an undisturbed one."""
        return len(self.tried) - len(self.lost)


def try_kills(work: Work, folder: Path, count: int | None = None) -> Trials:
    """Kill the work at file changes spread evenly over its course.

    Args:
        work: The stage; every process starts from the state that this one has.
        folder: Empty folder; each process pair works below a folder of its own.
        count: Number of kills; None kills at every change.

    Returns:
        The trials. A process that is killed has not made the change that it was killed at.

    Raises:
        RuntimeError: If an undisturbed process fails.
    """
    expected, changes = _undisturbed(work, folder / "undisturbed")
    step = 1 if count is None else max(1, changes / count)
    tried = sorted({min(changes, 1 + int((number + 0.5) * step)) for number in range(count or changes)})
    lost, leftovers = {}, 0
    for number in tried:
        place = folder / f"kill{number}"
        place.mkdir(parents=True)
        if _in_child(lambda place=place, number=number: _killed_at(number, work, place)) != -signal.SIGKILL:
            lost[number] = "was not killed: the order of changes varies"
            continue
        report = folder / f"kill{number}.txt"
        _in_child(lambda place=place, report=report: _record(work, place, report))
        found = report.read_text(encoding="utf-8") if report.is_file() else "died without a report"
        if found != expected:
            lost[number] = found
        leftovers += sum(".part" in path.name for path in place.rglob("*") if path.is_file())
    return Trials(changes, tried, lost, leftovers)


def digests(root: Path, pattern: str = "*") -> dict[str, str]:
    """Digest every file below a folder whose name matches, by its path; hidden files are left out."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob(pattern))
        if path.is_file() and not path.name.startswith(".")
    }


def _undisturbed(work: Work, place: Path) -> tuple[str, int]:
    """Give the result of an undisturbed process, and the number of its file changes."""
    place.mkdir(parents=True)
    report, counted = place.with_suffix(".txt"), place.with_suffix(".count")

    def run() -> None:
        count = 0

        def one_more() -> None:
            nonlocal count
            count += 1

        _before_changes(place, one_more)
        report.write_text(_text(work(place)), encoding="utf-8")
        counted.write_text(str(count), encoding="utf-8")

    def run_or_report() -> None:
        try:
            run()
        except BaseException:
            report.write_text(traceback.format_exc(), encoding="utf-8")

    _in_child(run_or_report)
    text = report.read_text(encoding="utf-8")
    if not counted.is_file():
        raise RuntimeError(f"the undisturbed process failed: {text}")
    return text, int(counted.read_text(encoding="utf-8"))


def _killed_at(number: int, work: Work, place: Path) -> None:
    left = number

    def count_down() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    _before_changes(place, count_down)
    work(place)


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


def _record(work: Work, place: Path, report: Path) -> None:
    try:
        text = _text(work(place))
    except BaseException:
        text = traceback.format_exc()
    report.write_text(text, encoding="utf-8")


def _text(result: Mapping[str, object]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in sorted(result.items()))


def _in_child(run: Callable[[], None]) -> int:
    """Run in a forked process that prints nothing; return its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            run()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
