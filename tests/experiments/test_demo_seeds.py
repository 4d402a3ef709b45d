import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from affect.errors import UserError
from experiments import demo_seeds
from experiments.demo_seeds import DemoSeedsConfig, as_markdown, run_series
from experiments.runtime.config.options import ConfigError


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the processes by a stand-in that writes metrics as a run does; give the commands as they come."""
    seen: list[list[str]] = []

    def run(command: list[str]) -> Any:
        seen.append(command)
        module = command[2].removeprefix("experiments.")
        experiment = {module: name for name, module in demo_seeds.MODULES.items()}.get(module, module)
        words = dict(word.split("=", 1) for word in command[3:])
        folder = Path(words["output_dir"])
        latest = folder / experiment / "latest"
        latest.mkdir(parents=True, exist_ok=True)
        value = {"42": 1.0, "43": 2.0, "44": 6.0}[folder.name]
        (latest / "metrics.json").write_text(json.dumps({"val/mtl_score": value, "test/mtl_score": -value}))
        provenance = {"git_revision": "abc", "git_dirty": False, "command": ["python", *command[1:]]}
        (latest / "provenance.json").write_text(json.dumps(provenance))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(demo_seeds.subprocess, "run", run)
    monkeypatch.setattr(demo_seeds, "git_state", lambda: ("abc", False))
    return seen


def test_mean_and_spread_over_seeds_are_those_of_pandas(tmp_path: Path, commands: list[list[str]]) -> None:
    table = run_series(DemoSeedsConfig(output_dir=str(tmp_path)))
    assert len(commands) == 15
    scores = table.query("experiment == 'mtl' and metric == 'val/mtl_score'")["value"]
    assert scores.tolist() == [1.0, 2.0, 6.0]
    text = (tmp_path / "results.md").read_text()
    assert "| mtl | val/mtl_score | 3.000 | 2.646 | 1.000 | 6.000 |" in text  # s.d. sqrt(7)
    assert "| mtl_submit | test/mtl_score | -3.000 | 2.646 | -6.000 | -1.000 |" in text
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(table)


def test_every_stage_takes_its_own_seeds_network(tmp_path: Path, commands: list[list[str]]) -> None:
    run_series(DemoSeedsConfig(seeds=[42, 43], output_dir=str(tmp_path), ablations=True))
    for command in commands:
        seed = Path(next(word for word in command if word.startswith("output_dir=")).partition("=")[2]).name
        paths = [word for word in command[3:] if word.startswith(("backbone=", "run="))]
        assert all(f"/{seed}/" in path for path in paths)
        assert f"seed={seed}" in command or paths[0].startswith("run=")


def test_finished_steps_of_this_revision_are_kept(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DemoSeedsConfig(seeds=[42, 43], output_dir=str(tmp_path))
    run_series(config)
    run_series(config)
    assert len(commands) == 10
    monkeypatch.setattr(demo_seeds, "git_state", lambda: ("def", False))
    assert not demo_seeds.is_current(tmp_path / "42" / "pretrain" / "latest", commands[0][3:])


def test_stage_1_alone_takes_other_options_and_is_made_again_with_yet_others(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    options = ["recipe=photographs", "data.root=/set"]
    config = DemoSeedsConfig(seeds=[42, 43], output_dir=str(tmp_path), pretrain=options)
    for _ in range(2):
        run_series(config)
    assert [command[2:] for command in commands] == [
        ["experiments.pretrain", f"output_dir={tmp_path / seed}", *options, f"seed={seed}"] for seed in ("42", "43")
    ]
    assert (tmp_path / "results.md").read_text().startswith("`recipe=photographs data.root=/set`, seeds 42, 43, ")
    run_series(DemoSeedsConfig(seeds=[42, 43], output_dir=str(tmp_path), pretrain=[options[0], "data.root=/other"]))
    assert len(commands) == 4


def test_a_failing_step_and_a_single_seed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_seeds.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 2))
    with pytest.raises(UserError, match=r"experiments\.pretrain .*seed=42 .*exit status 2"):
        run_series(DemoSeedsConfig(output_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match="at least two different seeds"):
        run_series(DemoSeedsConfig(seeds=[1, 1], output_dir=str(tmp_path)))


def test_columns_without_a_headline_are_left_out() -> None:
    table = pd.DataFrame({
        "experiment": ["mtl", "mtl_ablation"], "metric": ["val/au_f1/AU1", "val/mtl_score/joint"],
        "seed": [1, 1], "value": [0.5, 0.25],
    })  # fmt: skip
    text = as_markdown(table, [1], ["recipe=demo"])
    assert "AU1" not in text
    assert "| mtl_ablation | val/mtl_score/joint | 0.250 |" in text
