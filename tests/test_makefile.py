"""What make would run, and with which words, for paths that are hard on make and on the shell."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
HARD = "/x/a b:c$d'e\"f#g,(h)$(i;*"


@pytest.fixture
def words(tmp_path: Path):
    """Return the words of the last command that `make -n` prints, in a folder whose virtual environment is ready."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(MAKEFILE.with_name(name), tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()

    def run(*arguments: str, **environment: str) -> list[str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            ["make", "-n", *arguments], cwd=tmp_path, env=clean | environment, capture_output=True, text=True
        )
        if done.returncode:
            return [done.stderr]
        return shlex.split(done.stdout.splitlines()[-1])[2:]

    return run


@pytest.mark.parametrize("command", ["mtl", "synthetic", "mtl-ablation"])
def test_a_backbone_may_have_any_name(words, command: str) -> None:
    assert words(command, f"BACKBONE={HARD}")[-1] == f"backbone={HARD}"
    assert words(command, BACKBONE=HARD)[-1] == f"backbone={HARD}"
    assert words(command)[-1] == "backbone=runs/pretrain/latest/backbone.safetensors"


def test_data_and_weights_may_have_any_name(words) -> None:
    found = words("pretrain", f"DATA={HARD}", f"WEIGHTS={HARD}", "ARGS=seed=3 trainer.devices=2")
    assert found == [
        "experiments.pretrain", "recipe=paper", f"data.root={HARD}", "seed=3", "trainer.devices=2",
        f"model.weights={HARD}",
    ]  # fmt: skip
    assert words("faces", "RECIPE=my own.yaml", "WEIGHTS=a b")[1:] == ["recipe=my own.yaml", "weights=a b"]
    assert words("synthetic", "SR_WEIGHTS=a b")[-1] == "preparation.upscaling.weights=a b"
    assert words("mtl-submit", "DATA=a b")[1:] == ["data.root=a b"]


@pytest.mark.parametrize("command", ["demo", "upscale"])
def test_data_is_refused_by_a_command_that_would_ignore_it(words, command: str) -> None:
    assert f"DATA= has no meaning for `make {command}`" in words(command, "DATA=/x")[0]
