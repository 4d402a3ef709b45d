import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from affect.errors import InvalidFileError
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone, save_backbone
from affect.networks.weight_import import ImportReport, load_encoder_weights


@pytest.fixture
def source(tiny_architecture: str) -> Backbone:
    torch.manual_seed(1)
    return Backbone(tiny_architecture, 5)


@pytest.fixture
def encoder(tiny_architecture: str) -> nn.Module:
    torch.manual_seed(2)
    return Backbone(tiny_architecture, 0).encoder


def same(encoder: nn.Module, source: Backbone) -> bool:
    expected = source.encoder.state_dict()
    return all(torch.equal(value, expected[key]) for key, value in encoder.state_dict().items())


def bare(source: Backbone) -> dict[str, Tensor]:
    return {**source.encoder.state_dict(), "classifier.weight": torch.zeros(9, 4)}


LAYOUTS: dict[str, Callable[[Backbone], dict]] = {
    "bare timm": bare,
    "DataParallel": lambda source: {f"module.{key}": value for key, value in bare(source).items()},
    "backbone": lambda source: source.state_dict(),
    "Lightning": lambda source: {
        "state_dict": {f"backbone.{key}": value for key, value in source.state_dict().items()},
        "epoch": 3,
        "hyper_parameters": {"architecture": "x"},
    },
    "nested": lambda source: {"model": {"state_dict": bare(source)}, "optimizer": {"state": {}}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrappers_are_stripped_and_the_classifier_is_ignored(
    layout: str, tmp_path: Path, source: Backbone, encoder: nn.Module
):
    torch.save(LAYOUTS[layout](source), tmp_path / "weights.pth")
    report = load_encoder_weights(encoder, tmp_path / "weights.pth")
    assert same(encoder, source)
    assert set(report.loaded) == set(encoder.state_dict())
    assert all("classifier" in name for name in report.ignored + report.unexpected)
    assert not report.missing
    assert not report.mismatched


def test_safetensors_and_backbone_files_are_read(tmp_path: Path, source: Backbone, encoder: nn.Module):
    save_file(bare(source), tmp_path / "a.safetensors")
    report = load_encoder_weights(encoder, tmp_path / "a.safetensors")
    assert same(encoder, source)
    assert report.ignored == ["classifier.weight"]
    torch.nn.init.zeros_(next(encoder.parameters()))
    spec = BackboneSpec(source.architecture, 32, (0.5,) * 3, (0.5,) * 3, outputs=tuple("abcde"))
    save_backbone(tmp_path / "b.safetensors", source, spec, torch.float16)
    load_encoder_weights(encoder, tmp_path / "b.safetensors")
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}
    torch.testing.assert_close(next(encoder.parameters()), next(source.encoder.parameters()), atol=1e-3, rtol=1e-3)


def test_the_report_names_what_became_of_each_tensor(tmp_path: Path, source: Backbone, encoder: nn.Module):
    torch.save({**bare(source), "extra.weight": torch.zeros(1)}, tmp_path / "a.pth")
    report = load_encoder_weights(encoder, tmp_path / "a.pth")
    assert report.unexpected == ["extra.weight"]
    assert f"{len(report.loaded)} tensors loaded" in str(report)
    assert "1 unexpected (extra.weight)" in str(report)


def test_the_report_shows_the_first_five_names_of_each_kind():
    report = ImportReport(list("abc"), missing=list("123456"), unexpected=list("12345"))
    assert str(report) == "3 tensors loaded; 6 missing (1, 2, 3, 4, 5, ...); 5 unexpected (1, 2, 3, 4, 5)"


def test_a_missing_and_a_mismatched_tensor_stop_the_import_and_leave_the_encoder(
    tmp_path: Path, source: Backbone, encoder: nn.Module
):
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    tensors = source.encoder.state_dict()
    names = [key for key in tensors if key.endswith("weight")]
    tensors.pop(names[0])
    tensors[names[1]] = torch.zeros(2, 2)
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=f"1 missing .{names[0]}.*1 mismatched .{names[1]} ") as caught:
        load_encoder_weights(encoder, tmp_path / "a.pth")
    assert "a.pth" in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("kind", ["missing", "mismatched"])
def test_one_tensor_that_is_missing_or_of_another_shape_stops_the_import(
    tmp_path: Path, source: Backbone, encoder: nn.Module, kind: str
):
    tensors = source.encoder.state_dict()
    name = next(key for key in tensors if key.endswith("weight"))
    value = tensors.pop(name)
    if kind == "mismatched":
        tensors[name] = value[..., None]
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=rf"does not fit this encoder: .*1 {kind} \({name}"):
        load_encoder_weights(encoder, tmp_path / "a.pth")


def test_checkpoints_without_batch_counters_are_taken(tmp_path: Path, source: Backbone, encoder: nn.Module):
    tensors = {k: v for k, v in source.encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "old.pth")
    assert not load_encoder_weights(encoder, tmp_path / "old.pth").missing
    assert same(encoder, source)


def first_weight(tensors: dict[str, Tensor]) -> str:
    return next(key for key, value in tensors.items() if value.ndim == 4)


def cast(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda value: value.to(dtype)


def with_value(number: float) -> Callable[[Tensor], Tensor]:
    def change(value: Tensor) -> Tensor:
        value = value.clone()
        value.view(-1)[3] = number
        return value

    return change


UNUSABLE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "int8": (cast(torch.int8), "is int8, not floating-point"),
    "int64": (cast(torch.int64), "is int64, not floating-point"),
    "uint8": (cast(torch.uint8), "is uint8, not floating-point"),
    "bool": (cast(torch.bool), "is bool, not floating-point"),
    "complex": (cast(torch.complex64), "is complex64, not floating-point"),
    "float8": (cast(torch.float8_e4m3fn), "is float8_e4m3fn, not floating-point"),
    "NaN": (with_value(float("nan")), "NaN or infinity"),
    "infinity": (with_value(float("-inf")), "NaN or infinity"),
    "too large for float32": (lambda value: value.double() + 1e300, "NaN or infinity as float32"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_weights_that_would_silently_become_others_are_refused(
    tmp_path: Path, source: Backbone, encoder: nn.Module, kind: str
):
    change, reason = UNUSABLE[kind]
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    tensors = source.encoder.state_dict()
    name = first_weight(tensors)
    torch.save({**tensors, name: change(tensors[name])}, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match=rf"a\.pth.*1 unusable \({re.escape(name)} .*{reason}"):
        load_encoder_weights(encoder, tmp_path / "a.pth")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_weights_of_other_widths_are_taken(
    tmp_path: Path, source: Backbone, encoder: nn.Module, dtype: torch.dtype
):
    torch.save({key: value.to(dtype) for key, value in source.encoder.state_dict().items()}, tmp_path / "a.pth")
    report = load_encoder_weights(encoder, tmp_path / "a.pth")
    assert not report.missing
    counters = [key for key in source.encoder.state_dict() if key.endswith("num_batches_tracked")]
    assert sorted(report.ignored) == sorted(counters)  # of no use as such
    name = first_weight(encoder.state_dict())
    torch.testing.assert_close(encoder.state_dict()[name], source.encoder.state_dict()[name], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", ["int8", "NaN", "infinity", "too large for float32"])
def test_our_own_files_of_such_weights_are_refused(tmp_path: Path, source: Backbone, kind: str):
    path = tmp_path / "a.safetensors"
    spec = BackboneSpec(source.architecture, 32, (0.5,) * 3, (0.5,) * 3, outputs=tuple("abcde"))
    save_backbone(path, source, spec)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    name = first_weight(tensors)
    save_file({**tensors, name: UNUSABLE[kind][0](tensors[name])}, path, metadata)
    with pytest.raises(InvalidFileError, match=rf"a\.safetensors holds unusable tensors: .*{re.escape(name)}"):
        load_backbone(path)
    save_file({**tensors, name: tensors[name].bfloat16()}, path, metadata)
    load_backbone(path)


def test_a_negative_variance_is_refused(tmp_path: Path, source: Backbone, encoder: nn.Module):
    tensors = source.encoder.state_dict()
    name = next(key for key in tensors if key.endswith("running_var"))
    torch.save({**tensors, name: tensors[name] - 2}, tmp_path / "a.pth")
    with pytest.raises(InvalidFileError, match="negative variance"):
        load_encoder_weights(encoder, tmp_path / "a.pth")


def test_a_file_of_an_architecture_that_timm_lacks_is_named(tmp_path: Path, source: Backbone):
    path = tmp_path / "a.safetensors"
    save_backbone(path, source, BackboneSpec("no_such_net", 32, (0.5,) * 3, (0.5,) * 3, outputs=tuple("abcde")))
    with pytest.raises(InvalidFileError, match=r"a\.safetensors: timm has no architecture 'no_such_net'"):
        load_backbone(path)
