"""What is wrong with a data set: problems, what each does to a training, and groups of the same kind."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from affect.storage.text_file import Fault

_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


class Effect(StrEnum):
    """What a problem does to a training, the worst first."""

    STOPS = "stops"
    """The training refuses the set, or ends where it reads the image."""
    SPOILS = "spoils"
    """The training runs, but learns wrong labels, or its scores are wrong."""
    NOTE = "note"
    """The training copes with it, in a way that one should know."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        effect: What it does.
        kind: What is wrong, in the same words for every such problem.
        split: `train`, `val` or `test`; empty if it belongs to none.
        file: Path of the file or folder, relative to the set's folder; empty if it concerns a whole split.
        line: 1-based line of the file; 0 if it concerns the whole.
        detail: What was found there; may be empty.
    """

    effect: Effect
    kind: str
    split: str
    file: str
    line: int = 0
    detail: str = ""

    @property
    def example(self) -> str:
        """Where it is and what was found, as one line."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.detail) if part)


class ProblemGroup(NamedTuple):
    """All problems of a kind in a split."""

    effect: Effect
    kind: str
    split: str
    problems: Sequence[Problem]


def group_problems(problems: Iterable[Problem]) -> list[ProblemGroup]:
    """Group problems by effect, kind and split: the worst effect first, then the most frequent kind."""
    groups: dict[tuple[Effect, str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem[:3]].append(problem)
    order = list(Effect)
    found = [ProblemGroup(*key, members) for key, members in groups.items()]
    return sorted(found, key=lambda group: (order.index(group.effect), -len(group.problems)))


def from_faults(faults: Iterable[Fault], root: Path, split: str, effect: Effect = Effect.STOPS) -> list[Problem]:
    """Turn what a reader has collected into problems.

    Their kind is the reason without the names and values that it quotes.

    Args:
        faults: Malformed lines and files.
        root: The set's folder.
        split: The split that they belong to.
        effect: What they do to a training.
    """
    problems = []
    for fault in faults:
        kind = _QUOTED.sub("...", fault.reason)
        detail = "" if kind == fault.reason else fault.reason
        problems.append(Problem(effect, kind, split, _relative(fault.file, root), fault.line, detail))
    return problems


def _relative(file: str, root: Path) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file
