import sys
from pathlib import Path

import pytest
import timm
import torch

from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone_file import load_backbone
from experiments import import_model as command
from experiments.import_model import ImportConfig, import_model, main
from experiments.runtime.config.options import ConfigError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "emotions.pt"
    torch.save(timm.create_model("test_efficientnet", num_classes=10).eval(), path)
    return path


def test_the_command_writes_a_backbone_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", ["import_model", str(source), "image_size=96"])
    main()
    assert "test_efficientnet, 256 features, images of 96 px" in capsys.readouterr().out.replace("\n", " ")
    backbone, spec = load_backbone(tmp_path / "runs" / "emotions" / "backbone.safetensors")
    image = torch.randn(1, 3, 96, 96)
    expected = torch.load(source, weights_only=False)
    assert torch.allclose(backbone(image), expected(image), atol=1e-5)
    assert spec.outputs == (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL)


def test_options_name_the_outputs(source: Path, tmp_path: Path) -> None:
    names = [f"output {number}" for number in range(10)]
    output = tmp_path / "named.safetensors"
    _, spec = import_model(ImportConfig(str(source), str(output), expressions=names[:3], outputs=names))
    assert (spec.expressions, spec.outputs) == (tuple(names[:3]), tuple(names))
    _, spec = import_model(ImportConfig(str(source), str(output), overwrite=True, classifier=False))
    assert spec.outputs == ()


def test_an_existing_file_is_kept(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "named.safetensors"
    output.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"named\.safetensors exists: .*overwrite=true"):
        import_model(ImportConfig(str(source), str(output)))
    assert output.read_bytes() == b"mine"


def test_a_mistake_ends_the_command_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["import_model", str(tmp_path / "none.pt")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "no weights file at" in capsys.readouterr().err
