"""A finished run keeps its backbone, wherever `latest` points."""

import json
from pathlib import Path

import pytest

from affect.errors import MissingFileError
from affect.storage.fingerprint import file_digest
from experiments.runtime.backbone_choice import find_backbone, resolve_backbone
from experiments.runtime.config.options import ConfigError


@pytest.fixture
def backbones(tmp_path: Path) -> list[Path]:
    """Two runs of stage 1; `latest` is the second."""
    files = [tmp_path / "pretrain" / name / "backbone.safetensors" for name in ("2024-01-01", "2024-01-02")]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        file.write_text(f"weights {number}")
    (tmp_path / "pretrain" / "latest").symlink_to("2024-01-02")
    return files


def run_made_with(tmp_path: Path, configured: Path, recorded: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(f"backbone: {configured}\n")
    (run / "provenance.json").write_text(json.dumps({"backbone": str(recorded)}))
    return run


def test_a_run_records_the_file_and_not_the_link_that_moves(backbones: list[Path], tmp_path: Path) -> None:
    assert resolve_backbone(str(tmp_path / "pretrain/latest/backbone.safetensors")) == str(backbones[1])


def test_a_run_folder_stands_for_its_backbone(backbones: list[Path], tmp_path: Path) -> None:
    assert resolve_backbone(str(tmp_path / "pretrain/latest")) == str(backbones[1])
    with pytest.raises(MissingFileError, match=r"pretrain: the folder holds no backbone\.safetensors"):
        resolve_backbone(str(tmp_path / "pretrain"))


@pytest.mark.parametrize("moved", [False, True])
def test_the_backbone_is_found_by_its_digest(backbones: list[Path], tmp_path: Path, moved: bool) -> None:
    latest = tmp_path / "pretrain" / "latest" / "backbone.safetensors"
    run = run_made_with(tmp_path, latest, backbones[0])
    digest = file_digest(backbones[0])
    expected = backbones[0]
    if moved:
        expected = backbones[0].parent.rename(tmp_path / "pretrain" / "2024-01-03") / expected.name
    assert Path(find_backbone(str(latest), digest, run)).resolve() == expected


def test_a_missing_backbone_is_named_with_both_places(backbones: list[Path], tmp_path: Path) -> None:
    latest = tmp_path / "pretrain" / "latest" / "backbone.safetensors"
    run = run_made_with(tmp_path, latest, backbones[0])
    digest = file_digest(backbones[0])
    backbones[0].unlink()
    with pytest.raises(MissingFileError, match=f"{digest[:12]}.* no longer at {latest} or {backbones[0]}"):
        find_backbone(str(latest), digest, run)


def test_another_backbone_that_is_asked_for_is_refused(backbones: list[Path], tmp_path: Path) -> None:
    run = run_made_with(tmp_path, backbones[0], backbones[0])
    with pytest.raises(ConfigError, match="is not the network that the heads of"):
        find_backbone(str(backbones[1]), file_digest(backbones[0]), run)
    other = tmp_path / "copy.safetensors"
    other.write_bytes(backbones[0].read_bytes())
    assert find_backbone(str(other), file_digest(backbones[0]), run) == str(other)
