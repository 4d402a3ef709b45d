"""How W&B is reached, or not; nothing here connects."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from experiments.runtime.config.load import RunConfig, WandbConfig
from experiments.runtime.config.options import ConfigError
from experiments.runtime.reports.wandb_run import choose_mode, start_wandb
from experiments.runtime.run import Run


@pytest.fixture(autouse=True)
def _no_mode_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)


def unreachable(**_: Any) -> bool:
    raise wandb.errors.AuthenticationError("Failed to authenticate with https://api.example: no route to host")


def without_key(**_: Any) -> bool:
    return False


def test_auto_with_a_key_but_no_network_is_offline_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(wandb, "login", unreachable)
    Run("story", RunConfig("x", output_dir=str(tmp_path), wandb=WandbConfig(mode="auto")), tmp_path)
    assert "W&B is offline: Failed to authenticate with https://api.example" in capsys.readouterr().err


def test_auto_without_a_key_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", without_key)
    assert choose_mode(WandbConfig(mode="auto")) == ("offline", "")


@pytest.mark.parametrize(("login", "reason"), [(unreachable, "no route to host"), (without_key, "there is no API key")])
def test_online_without_a_key_or_network_is_an_error_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: Any, reason: str
) -> None:
    monkeypatch.setattr(wandb, "login", login)
    config = RunConfig("x", output_dir=str(tmp_path / "runs"), wandb=WandbConfig(mode="online"))
    with pytest.raises(ConfigError, match=rf"wandb\.mode=online: .*{reason}.*wandb\.mode=offline"):
        Run("story", config, tmp_path)
    assert not (tmp_path / "runs").exists()


def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server that accepts keys but starts no run; gives the modes in which runs were started."""
    modes: list[str] = []

    def init(mode: str, **arguments: Any) -> Any:
        modes.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("Timed out")
        folder = Path(arguments["dir"]) / "wandb" / "offline-run-x"
        (folder / "files").mkdir(parents=True)
        return SimpleNamespace(
            id="x", dir=str(folder / "files"), offline=True, define_metric=lambda *names, **options: None
        )

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", init)
    return modes


def test_a_server_that_does_not_answer_leaves_auto_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = fake_wandb(monkeypatch)
    folder = tmp_path / "run"
    folder.mkdir()
    config = RunConfig("x", output_dir=str(tmp_path))
    assert start_wandb(config, "story", folder, "online", may_go_offline=True).offline
    assert modes == ["online", "offline"]
    assert (folder / "wandb").resolve() == tmp_path / "wandb" / "offline-run-x"


def test_a_server_that_does_not_answer_ends_an_online_run_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wandb(monkeypatch)
    config = RunConfig("x", output_dir=str(tmp_path), wandb=WandbConfig(mode="online"))
    with pytest.raises(ConfigError, match=r"wandb\.mode=online: Timed out"):
        Run("story", config, tmp_path)
    assert not any((tmp_path / "story").iterdir()), "the run folder is removed again"
