"""The report of a check: Markdown, CSV, metrics, and a summary for the terminal."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from experiments.check_data.listing import Listing
from experiments.check_data.problems import Effect, Problem, ProblemGroup, group_problems
from experiments.check_data.sample_checks import looks_official

_EXAMPLES: Final = 10
_HEADINGS: Final = {
    Effect.STOPS: "Stops a training",
    Effect.SPOILS: "Spoils a training or its scores",
    Effect.NOTE: "Worth knowing",
}


@dataclass
class Report:
    """The result of checking a set.

    Attributes:
        listing: The set.
        problems: Everything that is wrong.
        coverage: How many images were opened, decoded and compared, as a line.
        is_complete: Whether the check reached the end.
        remarks: Further lines.
    """

    listing: Listing
    problems: Sequence[Problem]
    coverage: str
    is_complete: bool
    remarks: Sequence[str]

    def __post_init__(self) -> None:
        self.groups: list[ProblemGroup] = group_problems(self.problems)

    @property
    def counts(self) -> Counter[Effect]:
        """Number of problems by effect."""
        return Counter(problem.effect for problem in self.problems)

    @property
    def is_usable(self) -> bool:
        """Whether nothing was found that stops or spoils a training."""
        return not self.counts[Effect.STOPS] and not self.counts[Effect.SPOILS]

    @property
    def verdict(self) -> str:
        """The result as a sentence."""
        start = "" if self.is_complete else "the check was stopped early; until then: "
        if self.is_usable:
            return f"{start}usable: nothing was found that stops or spoils a training"
        parts = []
        for effect, words in ((Effect.STOPS, "stop a training"), (Effect.SPOILS, "spoil it or its scores")):
            kinds = dict.fromkeys(group.kind for group in self.groups if group.effect == effect)
            if kinds:
                parts.append(f"{self.counts[effect]:,} problems that {words} ({'; '.join(kinds)})")
        return f"{start}not usable as it is: {', and '.join(parts)}"

    def metrics(self) -> dict[str, float]:
        """Return the counts as flat numbers."""
        found: dict[str, float] = {"usable": int(self.is_usable), "complete": int(self.is_complete)}
        found |= {f"problems/{effect}": self.counts[effect] for effect in Effect}
        for split in self.listing.splits:
            name = split or "images"
            found[f"samples/{name}"] = int((self.listing.samples["split"] == split).sum())
            counts = zip(self.listing.classes, self.listing.class_counts(split), strict=True)
            found |= {f"samples/{name}/{label}": count for label, count in counts if split != "test"}
        return found

    def to_csv(self) -> str:
        """Format every problem as a line."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["effect", "problem", "split", "file", "line", "detail"])
        for group in self.groups:
            table.writerows([*problem[:4], problem.line or "", problem.detail] for problem in group.problems)
        return text.getvalue()

    def to_markdown(self, pictures: Sequence[str]) -> str:
        """Format the report.

        Args:
            pictures: Names of picture files beside it.
        """
        lines = [f"# {self.listing.title}", "", f"`{self.listing.root}`", "", f"**{_sentence(self.verdict)}.**", ""]
        lines += [f"- {remark}" for remark in (self.coverage, *self.listing.remarks, *self.remarks) if remark]
        lines += ["", "## Samples", "", *self._markdown_counts()]
        for effect, heading in _HEADINGS.items():
            groups = [group for group in self.groups if group.effect == effect]
            if groups:
                lines += ["", f"## {heading}"]
            for group in groups:
                lines += ["", f"### {_titled(group)}: {len(group.problems):,}", "", *_examples(group)]
        lines += ["", *(f"![{name}]({name})" for name in pictures)]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _markdown_counts(self) -> Iterator[str]:
        heading, rows = self._counts()
        yield f"| {' | '.join(heading)} |"
        yield f"| --- |{' ---: |' * (len(heading) - 1)}"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    def _counts(self) -> tuple[list[str], list[list[str]]]:
        """Return heading and rows of the table of samples, with published counts beside those of a set of that size."""
        listing = self.listing
        heading, columns = ["expression"], [[*listing.classes, "without expression", "all"]]
        for split in listing.splits:
            counts = listing.class_counts(split)
            total = int((listing.samples["split"] == split).sum())
            heading.append(split or "images")
            columns.append([f"{count:,}" for count in (*counts, total - sum(counts), total)])
            published = list(listing.published.get(split, ()))
            if published and looks_official(listing, split):
                by_class = published if len(published) > 1 else [None] * len(listing.classes)
                heading.append("published")
                columns.append([*(f"{count:,}" if count else "" for count in by_class), "", f"{sum(published):,}"])
        return heading, [list(row) for row in zip(*columns, strict=True)]

    def tables(self) -> Iterator[Table]:
        """Yield the tables for the terminal: samples, then problems."""
        heading, rows = self._counts()
        samples = _table(self.listing.title)
        for position, name in enumerate(heading):
            samples.add_column(name, justify="right" if position else "left", no_wrap=True)
        for row in rows:
            samples.add_row(*row)
        yield samples
        if not self.groups:
            return
        problems = _table("Problems")
        for name in ("effect", "number", "split", "problem and first example"):
            problems.add_column(name, justify="right" if name == "number" else "left", overflow="fold")
        for group in self.groups:
            style = {Effect.STOPS: "bold red", Effect.SPOILS: "yellow"}.get(group.effect, "")
            example = group.problems[0].example
            shown = Text(f"{group.kind}\n  {example}" if example else group.kind)
            problems.add_row(str(group.effect), f"{len(group.problems):,}", group.split, shown, style=style)
        yield problems


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _titled(group: ProblemGroup) -> str:
    return f"{_sentence(group.kind)} ({group.split})" if group.split else _sentence(group.kind)


def _examples(group: ProblemGroup) -> Iterator[str]:
    for problem in group.problems[:_EXAMPLES]:
        yield f"- `{problem.example.replace('`', chr(39))}`".replace("\n", " ")
    if len(group.problems) > _EXAMPLES:
        yield f"- ... and {len(group.problems) - _EXAMPLES:,} more in problems.csv"
