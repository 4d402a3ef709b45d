import errno
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from affect.storage.upscaled_tree import UpscaledTree, read_manifest
from affect.storage.write_errors import StorageError
from callbacks.image_prediction_writer import ImagePredictionWriter

TRAINER = SimpleNamespace(is_global_zero=True, strategy=SimpleNamespace(barrier=lambda name: None))


def prediction(names: list[str], unreadable=()) -> dict:
    levels = torch.arange(len(names), dtype=torch.uint8) * 20 + 50
    image = levels[:, None, None, None].expand(-1, 3, 16, 16)
    return {"groups": [{"image": image, "name": names}], "unreadable": list(unreadable)}


@pytest.fixture
def tree(tmp_path) -> UpscaledTree:
    names = tuple(f"{letter}.png" for letter in "abcdef")
    tree = UpscaledTree(tmp_path / "out", {"outscale": 1.0}, "digest", names)
    tree.open()
    return tree


def write(writer: ImagePredictionWriter, batch: dict) -> None:
    writer.write_on_batch_end(TRAINER, None, batch, None, None, 0, 0)


def test_all_images_are_there_when_the_pass_ends(tree):
    writer = ImagePredictionWriter(tree, [("link.png", "leaves")], num_threads=3)
    writer.on_predict_start(TRAINER, None)
    write(writer, prediction(["a.png", "b.png", "c.png"]))
    write(writer, prediction(["e.png", "f.png"], [("d.png", "empty")]))
    writer.on_predict_end(TRAINER, None)
    assert [tree.is_finished(name) for name in tree.names] == [True, True, True, False, True, True]
    manifest = read_manifest(tree.root)
    assert manifest["complete"]
    assert [entry["name"] for entry in manifest["unreadable"]] == ["d.png", "link.png"]


def test_what_two_processes_could_not_read_is_listed_once(tree, monkeypatch):
    def gather(parts: list, own: list) -> None:
        parts[:] = [own, own]  # an idle process repeats a batch

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    writer = ImagePredictionWriter(tree)
    writer.on_predict_start(TRAINER, None)
    write(writer, prediction(["a.png", "b.png", "c.png", "e.png", "f.png"], [("d.png", "empty")]))
    writer.on_predict_end(TRAINER, None)
    assert read_manifest(tree.root)["unreadable"] == [{"name": "d.png", "reason": "empty"}]


def test_a_missing_image_keeps_the_tree_incomplete(tree):
    writer = ImagePredictionWriter(tree)
    writer.on_predict_start(TRAINER, None)
    write(writer, prediction(["a.png"]))
    with pytest.raises(StorageError, match="5 images are missing"):
        writer.on_predict_end(TRAINER, None)
    assert not read_manifest(tree.root)["complete"]


def test_a_failed_write_stops_the_pass(tree, monkeypatch):
    def refuse(name: str, image: np.ndarray) -> None:
        raise StorageError(f"{name} cannot be written: {errno.ENOSPC}")

    monkeypatch.setattr(tree, "write", refuse)
    writer = ImagePredictionWriter(tree, max_waiting=1)
    writer.on_predict_start(TRAINER, None)
    with pytest.raises(StorageError, match=r"a.png cannot be written"):
        write(writer, prediction(["a.png", "b.png", "c.png"]))
    writer.on_exception(TRAINER, None, StorageError())
    assert not read_manifest(tree.root)["complete"]


def test_the_pass_waits_for_slow_writing_rather_than_for_memory(tree, monkeypatch):
    gate, original = threading.Event(), tree.write
    monkeypatch.setattr(tree, "write", lambda name, image: (gate.wait(20), original(name, image))[1])
    writer = ImagePredictionWriter(tree, num_threads=1, max_waiting=2)
    writer.on_predict_start(TRAINER, None)
    write(writer, prediction(["a.png", "b.png"]))
    assert len(writer._waiting) == 2
    threading.Timer(0.05, gate.set).start()
    write(writer, prediction(["c.png", "d.png", "e.png", "f.png"]))
    assert len(writer._waiting) <= 2
    writer.on_predict_end(TRAINER, None)
    assert all(tree.is_finished(name) for name in tree.names)


def test_an_interrupted_pass_drops_what_waits_and_leaves_nothing_half(tree, monkeypatch):
    gate, original = threading.Event(), tree.write
    monkeypatch.setattr(tree, "write", lambda name, image: (gate.wait(20), original(name, image))[1])
    writer = ImagePredictionWriter(tree, num_threads=1)
    writer.on_predict_start(TRAINER, None)
    write(writer, prediction(list(tree.names)))
    threading.Timer(0.05, gate.set).start()
    writer.on_exception(TRAINER, None, KeyboardInterrupt())
    finished = [name for name in tree.names if tree.is_finished(name)]
    assert 1 <= len(finished) < 6
    assert {path.name for path in tree.root.iterdir()} == {*finished, "manifest.json"}
