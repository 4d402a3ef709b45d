"""Disturb every stage at every so many file changes, and write docs/reliability.md's table of what became of it.

    python -m tests.faults [trials per stage and kind of fault]

Without a number, every change of every stage is tried, which takes hours.
"""

import os

os.environ["WANDB_MODE"] = "disabled"

import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from affect.storage.atomic_write import write_text
from tests.faults.stages import make_stages
from tests.faults.trials import FAULTS, run_undisturbed, try_fault

REPORT: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
COLUMNS: Final = ("stage", "file changes", "fault", "tried", "survived", "lost", "left over")
_TABLE: Final = re.compile(r"(?<=<!-- trials -->\n).*(?=<!-- end of trials -->)", re.S)


def main() -> None:
    """Write the table; exit with 1 if anything was lost or left over."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    rows = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    failures, leftovers = {}, []
    with tempfile.TemporaryDirectory() as name:
        for stage, work in make_stages(Path(name, "sources")).items():
            folder = Path(name, stage.replace(" ", "_"))
            expected = run_undisturbed(work, folder / "undisturbed")
            for kind, fault in FAULTS.items():
                trials = try_fault(fault, work, expected, folder / kind.replace(" ", "_"), count)
                counts = len(trials.tried), trials.survived, len(trials.lost), len(trials.leftovers)
                rows.append(_row([stage, expected.changes, kind, *counts]))
                print(rows[-1], file=sys.stderr, flush=True)
                failures |= {f"{stage}, {kind} at change {at}": why for at, why in trials.lost.items()}
                leftovers += trials.leftovers
    for place, reason in failures.items():
        print(f"\n{place}: {reason}", file=sys.stderr)
    for path in leftovers:
        print(f"left over: {path}", file=sys.stderr)
    title = f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {processor()}"
    table = "\n".join([title, "", *rows, ""])
    write_text(REPORT, _TABLE.sub(lambda _: table, REPORT.read_text(encoding="utf-8")))
    sys.exit(bool(failures or leftovers))


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def processor() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
