"""Exported files give PyTorch's values on photographs, and say what they are."""

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch

from affect.calibration.calibrator import Calibrator
from affect.errors import InvalidFileError, MissingFileError, UserError
from affect.labels import BACKBONE_EXPRESSIONS
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone, save_backbone
from affect.networks.engines import probe_batch
from affect.networks.frame_network import _rounded_up
from affect.networks.head_file import HeadsSpec, save_heads
from affect.networks.heads import create_heads
from affect.networks.onnx_encoder import onnx_is_installed
from affect.storage.fingerprint import file_digest
from affect.tasks import TASKS
from datamodules.transforms import DeviceTransform
from experiments.export import export as command
from experiments.export.check import CheckConfig, check
from experiments.export.export import ExportConfig, ExportError, export
from experiments.export.system import load_system

pytestmark = pytest.mark.skipif(not onnx_is_installed(), reason="needs the extra `export`")
DOCS = Path(__file__).parents[3] / "docs" / "export.md"
SIZE = 64


def photographs(size: int) -> np.ndarray:
    """Return crops of a portrait that Matplotlib ships, RGB, shape (3, S, S, 3)."""
    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    portrait = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    boxes = [(0, 400, 50, 450), (50, 350, 150, 400), (200, 600, 0, 400)]
    return np.stack([cv2.resize(portrait[a:b, c:d], (size, size)) for a, b, c, d in boxes])


def run_onnx(path: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: pixels}), strict=True))


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    names = ("calm", "cross", "glad")
    backbone = Backbone("test_efficientnet.r160_in1k", 5).train()
    backbone(probe_batch(SIZE))
    spec = BackboneSpec(
        backbone.architecture, SIZE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), names, (*names, "Valence", "Arousal")
    )
    save_backbone(tmp_path / "net" / "backbone.safetensors", backbone.eval(), spec)
    return tmp_path / "net" / "backbone.safetensors"


@pytest.fixture
def mtl_run(backbone_file: Path, tmp_path: Path) -> Path:
    """A finished run of stage 2 with bias, thresholds and smoothing."""
    folder = tmp_path / "runs" / "mtl" / "2026-01-01_00-00-00"
    folder.mkdir(parents=True)
    backbone, _ = load_backbone(backbone_file)
    heads = create_heads("slice", "both", backbone.num_features, 5, 16)
    save_heads(
        folder / "heads.safetensors",
        heads,
        HeadsSpec("slice", "both", backbone.num_features, 5, 16, file_digest(backbone_file)),
    )
    rng = np.random.default_rng(0)
    plain = Calibrator()
    calibrator = replace(
        plain,
        log_bias=tuple(rng.normal(0, 1, len(plain.log_bias)).tolist()),
        thresholds=tuple(rng.uniform(0.3, 0.7, len(plain.thresholds)).tolist()),
    )
    calibrator.save(folder / "calibrator.json")
    content = json.loads((folder / "calibrator.json").read_text())
    content["smoothing"] = {"expression": {"window": 5, "kernel": "box", "sigma": 1.0, "neighbours": None}}
    (folder / "calibrator.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(f"recipe: demo\nbackbone: {backbone_file}\n")
    (folder / "metrics.json").write_text('{"val/mtl_score": 1.5, "val/mtl_score@thresholds": 1.6, "wall_seconds": 3}')
    (folder / "provenance.json").write_text('{"seed": 7, "data_root": "/somewhere/aff_wild2", "official_set": false}')
    return folder


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_a_network_gives_pytorchs_values_on_photographs(backbone_file: Path, tmp_path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = export(ExportConfig(backbone=str(backbone_file), input=kind, output=str(tmp_path / "out" / "net.onnx")))
    backbone, spec = load_backbone(backbone_file)
    pixels = photographs(SIZE)
    image = DeviceTransform(spec.mean, spec.std)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    found = run_onnx(path, pixels if kind == "uint8" else image.numpy())
    with torch.inference_mode():
        features, outputs = backbone.forward_features(image), backbone(image)
    expected = {"features": features, "outputs": outputs, "expression": outputs[:, :3].softmax(1)}
    expected["valence_arousal"] = outputs[:, 3:]
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-5, atol=1e-5)
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.onnx", "net_card.json", "net_card.md"]
    assert str(Path(__file__).parents[3]).encode() not in path.read_bytes()


def test_a_run_of_stage_2_is_exported_with_heads_bias_and_thresholds(mtl_run: Path, tmp_path: Path) -> None:
    path = export(ExportConfig(run=str(mtl_run), output_dir=str(tmp_path / "runs")))
    assert path.parent.parent == tmp_path / "runs" / "export"
    assert (tmp_path / "runs" / "export" / "latest").resolve() == path.parent
    system = load_system(str(mtl_run), None)
    pixels = photographs(SIZE)
    image = DeviceTransform(system.spec.mean, system.spec.std)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert system.heads is not None
    with torch.inference_mode():
        row = torch.cat([system.backbone.forward_features(image), system.backbone(image)], 1)
        raw = {task: TASKS[task].predictions(values).numpy() for task, values in system.heads(row).items()}
    alone = replace(system.calibrator, smoothing={})
    expected = alone.apply(raw, np.zeros(3, int), np.arange(3))
    found = run_onnx(path, pixels)
    for task, values in expected.items():
        np.testing.assert_allclose(found[task], values, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["action_unit_decisions"], alone.decide(found["action_units"]))

    metadata = check(CheckConfig(str(path)))
    assert metadata["left_out"] == ["smoothing over time"]
    assert metadata["smoothing"]["expression"]["window"] == 5
    assert list(metadata["thresholds"].values()) == list(system.calibrator.thresholds)
    assert metadata["sha256"]["network"] == file_digest(system.files["network"])
    card = json.loads((path.parent / "model_card.json").read_text())
    assert {row["name"]: row["chosen_on"] for row in card["metrics"]} == {
        "val/mtl_score": "the epoch was chosen on these images",
        "val/mtl_score@thresholds": "epoch and thresholds were chosen on these images",
    }
    assert (card["made_by"]["seed"], card["made_by"]["git_revision"]) == (7, "not recorded")
    assert card["data"] == {"set": "aff_wild2", "official_set": False, "fingerprint": "not recorded"}
    assert "Not in the graph: smoothing over time." in card["limits"]
    text = (path.parent / "model_card.md").read_text()
    assert "| val/mtl_score | 1.5000 |" in text
    assert "/somewhere" not in text


def test_a_file_that_differs_does_not_get_its_name(
    backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = command.write_onnx

    def wrong(network: torch.nn.Module, *arguments: object) -> None:
        network.backbone.classifier.bias.data += 1e-3
        write(network, *arguments)
        network.backbone.classifier.bias.data -= 1e-3

    monkeypatch.setattr(command, "write_onnx", wrong)
    with pytest.raises(ExportError, match="output outputs of ONNX Runtime differs"):
        export(ExportConfig(backbone=str(backbone_file), output=str(tmp_path / "out" / "net.onnx")))
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ExportError):
        export(ExportConfig(backbone=str(backbone_file), output_dir=str(tmp_path / "runs")))
    assert not list((tmp_path / "runs" / "export").glob("*"))


@pytest.mark.parametrize("words", [{}, {"run": "a", "backbone": "b"}, {"run": "nowhere"}])
def test_what_cannot_be_exported_is_refused(words: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run="):
        export(ExportConfig(**words, output_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        check(CheckConfig(str(tmp_path / "none.onnx")))
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(InvalidFileError, match="export again"):
        check(CheckConfig(str(tmp_path / "x.onnx")))


def test_thresholds_are_reached_by_the_same_float32_as_in_float64() -> None:
    for threshold in (0.1, 0.3, 0.7, 0.5):
        rounded = _rounded_up([threshold])[0]
        assert float(rounded) >= threshold > float(np.nextafter(rounded, np.float32(0)))


@pytest.mark.parametrize(
    ("size", "names", "name"),
    [
        (112, BACKBONE_EXPRESSIONS, "mbf_suite_8_mtl"),
        (224, ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"), "suite_7"),
    ],
)
def test_emotiefflib_reads_the_file_and_agrees(
    size: int, names: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = pytest.importorskip("emotiefflib.facial_analysis")
    outputs = (*names, "Valence", "Arousal") if name.endswith("_mtl") else names
    torch.manual_seed(1)
    backbone = Backbone("test_efficientnet.r160_in1k", len(outputs)).train()
    backbone(probe_batch(96))
    spec = BackboneSpec(backbone.architecture, size, (0.48, 0.45, 0.4), (0.23, 0.22, 0.22), names, outputs)
    save_backbone(tmp_path / "net.safetensors", backbone.eval(), spec)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".emotiefflib" / f"{name}.onnx"
    export(ExportConfig(backbone=str(tmp_path / "net.safetensors"), format="emotiefflib", output=str(file)))

    crops = list(photographs(size))
    labels, scores = analysis.EmotiEffLibRecognizer(engine="onnx", model_name=name).predict_emotions(crops)
    image = DeviceTransform(spec.mean, spec.std)(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2))
    with torch.inference_mode():
        expected = backbone(image).numpy()
    order = [*sorted(names), *outputs[len(names) :]]
    np.testing.assert_allclose(scores, expected[:, [outputs.index(label) for label in order]], rtol=1e-4, atol=1e-4)
    assert labels == [names[row] for row in expected[:, : len(names)].argmax(1)]


def test_emotiefflib_cannot_have_other_labels_or_sizes(backbone_file: Path, tmp_path: Path) -> None:
    def refuse(pattern: str) -> None:
        with pytest.raises(UserError, match=pattern):
            export(ExportConfig(backbone=str(backbone_file), format="emotiefflib", output=str(tmp_path / "x.onnx")))

    refuse("112, 224 or 260 px")
    backbone, spec = load_backbone(backbone_file)
    save_backbone(backbone_file, backbone, replace(spec, image_size=112))
    refuse("names outputs by their place.*calm, cross, glad")


def test_the_documented_example_runs_with_onnx_runtime_alone(
    mtl_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    export(ExportConfig(run=str(mtl_run), output=str(tmp_path / "model.onnx")))
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.M)) <= {"json", "numpy", "onnxruntime"}
    np.save(tmp_path / "faces.npy", photographs(SIZE))
    capsys.readouterr()
    run: Callable[[str], str] = lambda text: text.replace("model.onnx", str(tmp_path / "model.onnx"))  # noqa: E731
    exec(run(code).replace("faces.npy", str(tmp_path / "faces.npy")), {})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 3
    assert "AU" in printed
