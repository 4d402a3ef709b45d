"""Damage to any JSON file that the suite reads leads to a UserError or to an equal result."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from affect.calibration.calibrator import Calibrator
from affect.calibration.smoothing import Smoothing
from affect.errors import InvalidFileError, MissingFileError, UserError
from affect.networks.backbone_file import BackboneSpec, read_spec
from affect.networks.head_file import HeadsSpec, load_heads
from affect.networks.heads import create_heads
from affect.storage.feature_store import FeatureStore, FeatureStoreError, StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter
from affect.storage.json_file import json_content, parse_json, read_json
from affect.storage.upscaled_tree import StaleTreeError, UpscaledTree, read_manifest
from experiments.runtime.demo_set import is_demo
from experiments.summary import read_metrics
from experiments.synthetic.submit import Blend


@json_content
@dataclass(frozen=True)
class Content:
    number: float
    names: tuple[str, ...]
    count: int = 1

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"number must not be negative, got {self.number}")


def test_content_is_read_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"format": "x/1", "number": 2, "names": ["é", "b"]}', encoding="utf-8")
    assert read_json(path, Content, "write it again", "x/1") == Content(2.0, ("é", "b"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('\ufeff{"number": 1, "names": []}', "not JSON"),
        ("null", "should be an object"),
        ("[]", "should be an object"),
        ('{"number": 1}', "key names: Field required"),
        ('{"number": 1, "names": [], "count": 1.0}', "key count: .*valid integer"),
        ('{"number": true, "names": []}', "key number: .*valid number"),
        ('{"number": "1", "names": []}', "key number: .*valid number"),
        ('{"number": null, "names": []}', "key number: .*valid number"),
        ('{"number": 1, "names": "ab"}', "key names"),
        ('{"number": 1, "names": ["a", 2]}', r"key names\.1: .*valid string"),
        ('{"number": 1, "names": [], "extra": 1}', "key extra: Unexpected"),
        ('{"number": 1, "number": 2, "names": []}', "the key number occurs more than once"),
        ('{"number": -1, "names": []}', "must not be negative"),
        ('{"number": NaN, "names": []}', "it holds NaN"),
        ('{"number": -Infinity, "names": []}', "it holds -Infinity"),
        ('{"number": 1e999, "names": []}', "range"),
        (f'{{"number": 1{"0" * 400}, "names": []}}', "key number: .*finite"),
        (f'{{"number": 1{"0" * 5000}, "names": []}}', "4300 digits"),
        ('{"number": 1, "names": ["\\ud800"]}', "JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"number":' * 5000, "nested too deeply"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidFileError, match=rf"(?s)a\.json: .*{reason}.*; write it again"):
        read_json(tmp_path / "a.json", Content, "write it again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"number": -1, "names": []}', "number must not be negative, got -1.0"),
        ('{"number": 1}', "key names: Field required"),
        ('{"number": 1, "names": 2, "count": 3.5, "more": 4}', r"key names: .* \(and 2 more\)"),
    ],
)
def test_messages_name_the_first_key_and_count_the_others(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_json(text, Content)


@pytest.mark.parametrize(
    ("text", "found"), [('{"format": "x/2"}', "x/2"), ("{}", "None"), ("[]", "list"), ('"x/1"', "str")]
)
def test_another_format_is_refused(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"^it has the format {found}, not 'x/1'$"):
        parse_json(text, Content, "x/1")


def test_missing_and_unreadable_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes('"é"'.encode("latin-1"))
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    for name, error, reason in (
        ("latin", InvalidFileError, "UTF-8"),
        ("folder", InvalidFileError, "not a regular file"),
        ("pipe", InvalidFileError, "not a regular file"),
        ("none", MissingFileError, "there is no"),
        ("loop", UserError, "loop"),
    ):
        with pytest.raises(error, match=reason):
            read_json(tmp_path / f"{name}.json", Content, "write it again")


def write_calibrator(folder: Path) -> Path:
    smoothing = {"expression": Smoothing(3, "box"), "action_units": Smoothing(5, neighbours=2)}
    Calibrator(smoothing, tuple(np.linspace(-1, 1, 8)), tuple(np.linspace(0, 1, 12))).save(folder / "a.json")
    return folder / "a.json"


def write_blend(folder: Path) -> Path:
    blend = {"weight": 0.3, "space": "logits", "pretrained": "/x/y", "pretrained_sha256": "0a" * 32}
    (folder / "a.json").write_text(json.dumps(blend))
    return folder / "a.json"


def write_tree(folder: Path) -> Path:
    tree = UpscaledTree(folder, {"scale": 4, "network": "x"}, "digest", ["a/1.png"])
    tree.open()
    tree.finish({("a/1.png", "no image")})
    return folder / "manifest.json"


def write_store(folder: Path) -> Path:
    plan = StorePlan(["a/1.jpg", "a/2.jpg"], {"features": 3}, {"images": "x", "transform": {"mean": [0.5]}})
    writer = FeatureStoreWriter(folder / "store", plan)
    writer.prepare()
    writer.write(0, np.ones((2, 3)), {"a/2.jpg": "no image"})
    writer.merge()
    return folder / "store" / "metadata.json"


def write_metrics(folder: Path) -> Path:
    (folder / "metrics.json").write_text('{"val/f1": 0.25, "wall_seconds": 3.5}')
    return folder / "metrics.json"


def write_stamp(folder: Path) -> Path:
    (folder / "demo.json").write_text('{"set": "faces", "renderer": 3}')
    return folder / "demo.json"


def read_tree(path: Path) -> Any:
    tree = UpscaledTree(path.parent, {"scale": 4, "network": "x"}, "digest", ["a/1.png"])
    return read_manifest(path.parent), tree.known_unreadable(), tree.is_complete()


def read_store(path: Path) -> Any:
    store = FeatureStore.open(path.parent)
    return store.names, store.missing, store.features.tolist()[0]


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "calibrator": (write_calibrator, Calibrator.load),
    "blend": (write_blend, lambda path: read_json(path, Blend, "make it again")),
    "manifest": (write_tree, read_tree),
    "store": (write_store, read_store),
    "metrics": (write_metrics, lambda path: read_metrics(path.parent)),
    "stamp": (write_stamp, lambda path: is_demo(path.parent)),
}
STRANGE = (
    "null", "true", "[]", "{}", '""', '"x"', "-1", "1.5", "1e300", "NaN", "Infinity", "1e999", "[[[]]]", "9" * 5000,
    "[" * 3000 + "]" * 3000,
)  # fmt: skip


def damaged(original: str) -> Iterator[bytes]:
    """Yield the file with bytes flipped, truncated, and with each value replaced, removed or repeated."""
    generator = np.random.default_rng(0)
    data = original.encode()
    for position in generator.integers(len(data), size=40):
        flipped = bytearray(data)
        flipped[position] ^= 1 << generator.integers(8)
        yield bytes(flipped)
        yield data[:position]
    for path in places(json.loads(original)):
        for strange in STRANGE:
            yield with_value(json.loads(original), path, strange)
        if isinstance(path[-1], str):
            parent = json.loads(original)
            for key in path[:-1]:
                parent = parent[key]
            key = json.dumps(path[-1])
            yield original.replace(f"{key}:", f"{key}: 1, {key}:", 1).encode()
            yield original.replace(f"{key}:", '"other":', 1).encode()


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def with_value(content: Any, path: tuple, text: str) -> bytes:
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = "\0here"
    return json.dumps(content).replace(json.dumps("\0here"), text).encode()


@pytest.mark.parametrize("kind", FILES)
def test_damage_ends_in_a_user_error_or_in_finite_content(tmp_path: Path, kind: str) -> None:
    write, read = FILES[kind]
    path = write(tmp_path)
    original = path.read_text(encoding="utf-8")
    expected = repr(read(path))
    messages = []
    for data in damaged(original):
        path.write_bytes(data)
        try:
            found = repr(read(path))
        except UserError as error:
            messages.append(str(error))
        else:
            assert not re.search(r"\b(nan|inf)\b", found)
    assert kind == "stamp" or len(messages) > 20
    assert all(str(path.parent) in message for message in messages)
    path.write_text(original, encoding="utf-8")
    assert repr(read(path)) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("thresholds", "AU1"), "1.01"),
        (("thresholds", "AU1"), "-0.01"),
        (("thresholds", "AU1"), "NaN"),
        (("log_bias", "Fear"), "Infinity"),
        (("smoothing", "expression", "window"), "-1"),
        (("smoothing", "expression", "window"), "2.5"),
        (("smoothing", "expression", "kernel"), '"tent"'),
        (("smoothing", "expression", "sigma"), "0"),
        (("smoothing", "action_units", "neighbours"), "-2"),
        (("smoothing", "expression"), "null"),
        (("smoothing",), '{"gaze": {"window": 1}}'),
        (("log_bias",), "{}"),
    ],
)
def test_a_calibrator_out_of_range_is_refused(tmp_path: Path, path: tuple, text: str) -> None:
    file = write_calibrator(tmp_path)
    file.write_bytes(with_value(json.loads(file.read_text()), path, text))
    with pytest.raises(InvalidFileError, match=r"a\.json: "):
        Calibrator.load(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weight", 1.5),
        ("weight", -0.1),
        ("space", "ranks"),
        ("pretrained_sha256", "abc"),
        ("weight", math.nan),
    ],
)
def test_a_blend_out_of_range_is_refused(tmp_path: Path, key: str, value: object) -> None:
    file = write_blend(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InvalidFileError, match=r"a\.json: .*make it again"):
        read_json(file, Blend, "make it again")


BACKBONE = {
    "architecture": "test_efficientnet", "image_size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
    "expressions": ["Anger", "Fear"], "outputs": ["Anger", "Fear", "Valence"], "notes": {"recipe": "demo"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("outputs", ["Anger", "Fear", "Fear"]),
        ("outputs", ["Anger"] * 10),
        ("outputs", ["Fear", "Anger", "Valence"]),
        ("outputs", ["Anger", "Fear", ""]),
        ("expressions", ["Anger", "Valence"]),
        ("expressions", ["Anger", "Fear", "Valence", "Arousal"]),
        ("image_size", 0),
        ("image_size", 10**9),
        ("image_size", 32.5),
        ("mean", [0.5]),
        ("mean", [0.5, 0.5, -0.1]),
        ("mean", [0.5, 0.5, math.nan]),
        ("std", [0.5, 0.5, 0.0]),
        ("std", [0.5, 0.5, 128.0]),
        ("std", [0.5, 0.5, 0.5, 0.5]),
        ("architecture", None),
        ("notes", []),
        ("extra", 1),
    ],
)
def test_a_backbone_described_out_of_range_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "a.safetensors"
    for fields in (BACKBONE, {**BACKBONE, key: value}):
        metadata = {"format": "mt-emotieffnet-backbone/1", "spec": json.dumps(fields)}
        save_file({"x": torch.zeros(1)}, path, metadata)
        if fields is BACKBONE:
            assert read_spec(path) == parse_json(json.dumps(BACKBONE), BackboneSpec)
            continue
        with pytest.raises(InvalidFileError, match=r"a\.safetensors: its description is damaged: "):
            read_spec(path)


def test_a_description_damaged_in_any_way_ends_in_a_user_error(tmp_path: Path) -> None:
    heads = create_heads("separate", "both", 4, 2, 3)
    spec = {"network": "separate", "inputs": "both", "num_features": 4, "num_outputs": 2, "num_hidden": 3,
            "features_from": "x"}  # fmt: skip
    path = tmp_path / "heads.safetensors"
    expected = parse_json(json.dumps(spec), HeadsSpec)
    for text in [json.dumps(spec).encode(), *damaged(json.dumps(spec))]:
        metadata = {"format": "mt-emotieffnet-heads/1", "spec": text.decode(errors="replace")}
        save_file(heads.state_dict(), path, metadata)
        try:
            found = load_heads(path)[1]
        except UserError:
            continue
        # The digest is text of any content; nothing else may differ.
        assert (found.network, found.inputs) == ("separate", "both")
        assert found.num_features + found.num_outputs == expected.num_features + expected.num_outputs


def test_flipped_and_missing_bytes_of_a_tensor_file_end_in_a_user_error(tmp_path: Path) -> None:
    heads = create_heads("separate", "both", 4, 2, 3)
    path = tmp_path / "heads.safetensors"
    spec = '{"network": "separate", "inputs": "both", "num_features": 4, "num_outputs": 2, "num_hidden": 3, '
    save_file(
        heads.state_dict(),
        path,
        {"format": "mt-emotieffnet-heads/1", "spec": spec + '"features_from": "x"}'},
    )
    original = path.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.integers(len(original), size=200):
        data = bytearray(original)
        data[position] ^= 1 << generator.integers(8)
        path.write_bytes(data if position % 4 else data[:position])
        try:
            found, _ = load_heads(path)
        except UserError:
            continue
        assert all(bool(torch.isfinite(value).all()) for value in found.state_dict().values())


def test_damaged_stores_and_trees_keep_their_own_errors(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    store, tree = write_store(tmp_path), write_tree(tmp_path / "tree")
    for path, read, error in ((store, read_store, FeatureStoreError), (tree, read_tree, StaleTreeError)):
        path.write_text("[" * 5000)
        with pytest.raises(error, match="nested too deeply"):
            read(path)
