"""The demo, or stage 1 on any data, with several seeds: mean and spread of every headline figure.

    python -m experiments.demo_seeds [key=value ...]

Runs the three stages, both submissions and, on request, the ablations once per seed, each as a process of its own,
below `<output_dir>/<seed>`. A step that finished at the same git revision is kept, so that the same command continues a
stopped series. Writes `results.csv` (a row per metric and seed) and `results.md` (mean, standard deviation, range).
"""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from affect.errors import UserError
from affect.storage.atomic_write import write_text
from affect.storage.json_file import read_json
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import ConfigError, option
from experiments.runtime.provenance import git_state, processor_name

STAGES: Final = ("pretrain", "mtl", "mtl_submit", "synthetic", "synthetic_submit")
ABLATIONS: Final = ("mtl_baseline", "mtl_ablation", "synthetic_ablation")
MODULES: Final = {
    "mtl_submit": "mtl.submit", "synthetic_submit": "synthetic.submit", "mtl_baseline": "mtl.train_baseline",
    "mtl_ablation": "mtl.ablate", "synthetic_ablation": "synthetic.ablate",
}  # fmt: skip
"""Module of each experiment that is not named like its package."""
SHOWN: Final = {
    "pretrain": ("val/expression_accuracy", "val/expression_f1", "val/valence_ccc", "val/arousal_ccc"),
    "mtl": (
        "val/mtl_score", "val/mtl_score@thresholds_crossfit", "val/mtl_score@smoothed",
        "val/mtl_score@calibrated_crossfit", "val/mtl_score@calibrated", "val/va_ccc", "val/expression_f1", "val/au_f1",
    ),
    "mtl_submit": ("test/mtl_score",),
    "synthetic": (
        "val/expression_f1@pretrained", "val/expression_f1@classifier_only", "val/expression_f1@finetuned",
        "val/expression_f1@blend_crossfit", "val/expression_f1@blend",
    ),
    "synthetic_submit": ("test/expression_f1", "test/expression_accuracy"),
    "mtl_baseline": ("val/mtl_score",),
}  # fmt: skip
"""Headline metrics by experiment; of the ablations, every metric is shown."""
_log = logging.getLogger("experiments.demo_seeds")


@dataclass
class DemoSeedsConfig:
    """Options of the series."""

    seeds: list[int] = option([42, 43, 44], "seeds of the random numbers, at least two", ge=0, le=2**32 - 1)
    output_dir: str = option("runs/demo_seeds", "folder of the series; each seed has a folder below it", path=True)
    ablations: bool = option(False, "run the baseline of stage 2 and both ablations too")
    pretrain: list[str] = option(
        [], "run stage 1 alone, with these options, for instance [recipe=photographs, data.root=/path/to/set]"
    )


def run_series(config: DemoSeedsConfig) -> pd.DataFrame:
    """Run all steps with all seeds and return the metrics, with columns `experiment`, `metric`, `seed` and `value`.

    Raises:
        ConfigError: If there are fewer than two different seeds.
        UserError: If a step fails; its own message stands above.
    """
    seeds = list(dict.fromkeys(config.seeds))
    if len(seeds) < 2:
        raise ConfigError(f"seeds={config.seeds}: a spread needs at least two different seeds")
    rows: list[dict[str, Any]] = []
    experiments = ("pretrain",) if config.pretrain else STAGES + (ABLATIONS if config.ablations else ())
    options = config.pretrain or ["recipe=demo"]
    for seed in seeds:
        for experiment in experiments:
            metrics = run_step(experiment, seed, Path(config.output_dir) / str(seed), options)
            rows += [
                {"experiment": experiment, "metric": metric, "seed": seed, "value": value}
                for metric, value in metrics.items()
            ]
    table = pd.DataFrame(rows)
    write_text(Path(config.output_dir) / "results.csv", table.to_csv(index=False))
    text = as_markdown(table, seeds, options)
    write_text(Path(config.output_dir) / "results.md", text)
    _log.info(text)
    return table


def run_step(experiment: str, seed: int, folder: Path, options: Sequence[str]) -> dict[str, float]:
    """Run one experiment with these options below `folder`, unless it finished there with them at this revision.

    Returns its metrics.

    Raises:
        UserError: If it fails.
    """
    latest = folder / experiment / "latest"
    words = list(words_of(experiment, seed, folder, options))
    if is_current(latest, words):
        _log.info("seed %d: %s finished earlier at this revision: %s", seed, experiment, latest)
    else:
        _log.info("seed %d: %s", seed, experiment)
        module = f"experiments.{MODULES.get(experiment, experiment)}"
        status = subprocess.run([sys.executable, "-m", module, *words]).returncode
        if status:
            raise UserError(
                f"{module} {' '.join(words)} ended with exit status {status}; fix the cause and run "
                "the same command again: finished steps are kept"
            )
    return read_json(latest / "metrics.json", dict[str, float], "remove the run and start again")


def is_current(run: Path, words: Sequence[str]) -> bool:
    """Return whether a folder holds a finished run with these words of the checked-out revision, unchanged."""
    try:
        provenance = read_json(run / "provenance.json", dict[str, Any], "make the run again")
        finished = (run / "metrics.json").is_file()
    except UserError:
        return False
    revision, dirty = git_state()
    same = provenance.get("git_revision") == revision and provenance.get("git_dirty") is False
    same = same and provenance.get("command", [])[-len(words) :] == list(words)
    return finished and revision is not None and not dirty and same


def words_of(experiment: str, seed: int, folder: Path, options: Sequence[str]) -> Iterator[str]:
    """Yield the options of a step."""
    yield f"output_dir={folder}"
    if experiment.endswith("_submit"):
        yield f"run={folder / experiment.removesuffix('_submit') / 'latest'}"
        return
    yield from (*options, f"seed={seed}")
    if experiment.startswith(("mtl", "synthetic")) and experiment != "mtl_baseline":
        yield f"backbone={folder / 'pretrain' / 'latest' / 'backbone.safetensors'}"


def as_markdown(table: pd.DataFrame, seeds: Sequence[int], options: Sequence[str]) -> str:
    """Format the headline metrics as a Markdown table: mean, standard deviation (n - 1), smallest and largest."""
    lines = [
        f"`{' '.join(options)}`, seeds {', '.join(map(str, seeds))}, {processor_name()}.", "",
        "| experiment | metric | mean | s.d. | smallest | largest |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for (experiment, metric), values in table.groupby(["experiment", "metric"], sort=False)["value"]:
        name = str(metric)
        if name in SHOWN.get(str(experiment), (name,)) and name.startswith(("val/", "test/")):
            figures = values.mean(), values.std(), values.min(), values.max()
            lines.append(f"| {experiment} | {name} | {' | '.join(f'{value:.3f}' for value in figures)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_experiment(DemoSeedsConfig, "demo_seeds", run_series, default_recipe=None)
