import subprocess
from pathlib import Path

import pytest

import experiments.provenance
from experiments.provenance import describe_environment


def test_the_revision_is_gits_and_changes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    monkeypatch.setattr(experiments.provenance, "__file__", str(tmp_path / "code.py"))
    found = describe_environment(3)
    assert found["git_revision"] == git("rev-parse", "HEAD")
    assert found["git_dirty"] is False
    (tmp_path / "code.py").write_text("2")
    assert describe_environment(3)["git_dirty"] is True


def test_outside_a_checkout_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(experiments.provenance, "__file__", str(tmp_path / "code.py"))
    found = describe_environment(3)
    assert found["git_revision"] is None
    assert found["seed"] == 3
    assert found["command"][0] == "python"
