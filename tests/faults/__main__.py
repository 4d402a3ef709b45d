"""Kill every stage at every so many file changes, and print a table of what became of it.

    python -m tests.faults [kills per stage]

Without a number, every change of every stage is tried, which takes an hour or so.
"""

import os

os.environ["WANDB_MODE"] = "disabled"

import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.kills import try_kills
from tests.faults.stages import make_stages


def main() -> None:
    """Print the table as Markdown; exit with 1 if anything was lost."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    rows, lost = [], {}
    with tempfile.TemporaryDirectory() as name:
        for stage, work in make_stages(Path(name, "sources")).items():
            trials = try_kills(work, Path(name, "trials", stage.replace(" ", "_")), count)
            counts = trials.changes, len(trials.tried), trials.survived, len(trials.lost), trials.leftovers
            rows.append(f"| {stage} | {' | '.join(map(str, counts))} |")
            lost |= {f"{stage}, change {number}": reason for number, reason in trials.lost.items()}
            print(rows[-1], file=sys.stderr, flush=True)
    print(f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {processor()}\n")
    print(
        "| stage | file changes | tried | survived | lost | left over |\n| --- | --- | --- | --- | --- | --- |"
    )
    print("\n".join(rows))
    for place, reason in lost.items():
        print(f"\n{place}:\n{reason}", file=sys.stderr)
    sys.exit(bool(lost))


def processor() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
