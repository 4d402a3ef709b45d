"""Interleaved timing of candidates on a noisy machine; only ratios within a run are comparable."""

import argparse
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytorch_lightning as pl
import torch

from affect.storage.atomic_write import write_json, write_text
from experiments.runtime.provenance import processor_name

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy", "opencv-python-headless")


def parse_options(description: str | None, **options: Any) -> argparse.Namespace:
    """Parse a benchmark's command line, and silence what Lightning has to say.

    Args:
        description: Docstring of the benchmark.
        **options: Options with their defaults, from which their types follow.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def silent_trainer(**options: Any) -> pl.Trainer:
    """Build a Trainer that writes and shows nothing, on the CPU unless `options`, which come last, say otherwise."""
    silent: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return pl.Trainer(**{**silent, **options})


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int = 8, warmup: int = 1
) -> dict[str, list[float]]:
    """Time callables in turns, so that slow periods of the machine affect all of them.

    The order is reversed in every other round, and a CUDA device is synchronised before each clock reading.

    Args:
        candidates: Callables by name; each call must do the same amount of work.
        repeats: Timed rounds.
        warmup: Untimed rounds before them, for caches, compilation and lazy initialisation.

    Returns:
        Seconds per call and round, in the order of `candidates`; round i of one name pairs with round i of
        another.

    Raises:
        ValueError: If there is nothing to time.
    """
    if not candidates or repeats < 1:
        raise ValueError(f"nothing to time: {len(candidates)} candidates, {repeats} repeats")
    for _ in range(warmup):
        for call in candidates.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats):
        names = list(candidates)[:: 1 if turn % 2 == 0 else -1]
        for name in names:
            _synchronise()
            start = time.perf_counter()
            candidates[name]()
            _synchronise()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio_table(
    seconds: Mapping[str, Sequence[float]], reference: str, items: float = 1.0, unit: str = "items"
) -> list[dict[str, Any]]:
    """Summarise `interleaved`'s timings as one row per candidate.

    Args:
        seconds: Seconds per round by name.
        reference: The name that the others are compared with (the peer).
        items: How many items one call handles.
        unit: Name of an item, for the column heading.

    Returns:
        Rows with the name, the median seconds per call, items per second and `speed-up`, the median over
        rounds of reference seconds / own seconds, with its smallest and largest value.

    Raises:
        KeyError: If `reference` was not timed.
    """
    rows = []
    for name, values in seconds.items():
        ratios = [slow / fast for slow, fast in zip(seconds[reference], values, strict=True)]
        rows.append(
            {
                "candidate": name,
                "median s": round(median(values), 5),
                f"{unit}/s": round(items / median(values), 2),
                f"speed-up over {reference}": round(median(ratios), 2),
                "range": f"{min(ratios):.2f} to {max(ratios):.2f}",
            }
        )
    return rows


def machine() -> dict[str, str]:
    """Describe the machine: processor, its cores and rate, versions and GPU if there is one."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    facts = {
        "processor": processor_name(),
        "cores": f"{os.cpu_count()}, torch uses {torch.get_num_threads()}",
        "float32 matrix product": f"{matrix_rate():.0f} GFLOP/s",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(versions),
    }
    if torch.cuda.is_available():
        facts["gpu"] = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return facts


def matrix_rate(size: int = 2048, repeats: int = 5) -> float:
    """Measure the processor's rate on square float32 matrix products, in GFLOP/s: the limit of all arithmetic here."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def write_results(
    name: str, rows: Sequence[Mapping[str, Any]], *, title: str | None = None, notes: Sequence[str] = ()
) -> Path:
    """Write a table and the machine's description to `benchmarks/results/<name>.md`, and as `.json`; print it.

    Args:
        name: File stem.
        rows: Table rows; columns are all keys in order of first appearance, an absent value stays blank.
        title: Heading; the name by default.
        notes: Sentences below the table, one paragraph each (what was compared, how equality was checked).

    Returns:
        Path of the markdown file.

    Raises:
        ValueError: If `rows` is empty or holds NaN or infinity.
    """
    if not rows:
        raise ValueError(f"no rows to write for benchmark {name!r}")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"# {title or name}", "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line([str(row.get(column, "")) for column in columns]) for row in rows]
    lines += [line for note in notes for line in ("", note)]
    facts = machine()
    lines += ["", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    path = RESULTS / f"{name}.md"
    write_json(path.with_suffix(".json"), {"rows": [dict(row) for row in rows], "machine": facts})
    text = "\n".join(lines)
    write_text(path, text)
    print(text)
    return path


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
