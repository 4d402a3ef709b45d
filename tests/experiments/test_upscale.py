import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from affect.errors import InvalidOptionError
from affect.stop_signals import STOP_SIGNALS, Interruption
from affect.storage.upscaled_tree import StaleTreeError, UpscaledTree, read_manifest
from affect.storage.write_errors import StorageError
from affect.super_resolution.networks import SRVGGNetCompact
from datamodules.images.decoding import read_image
from experiments import upscale as upscaling
from experiments.runtime.config.load import TrainerConfig, load_config
from experiments.upscale import UpscalingConfig, UpscalingOptions, upscale_tree
from lightning_modules.upscaling import UpscalingModule

TRAINER = TrainerConfig(accelerator="cpu", progress_bar=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    torch.manual_seed(0)
    network = SRVGGNetCompact(4, num_features=8, num_convolutions=2)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save({"params": network.state_dict()}, path)
    return str(path)


@pytest.fixture
def source(tmp_path) -> Path:
    generator = np.random.default_rng(0)
    root = tmp_path / "source"
    for number in range(23):
        size = (12, 14) if number % 5 else (10, 9)
        path = root / f"class{number % 3}" / f"{number}.{'png' if number % 4 == 0 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), generator.integers(0, 256, (*size, 3), np.uint8))
    broken = root / "class0" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no image")
    return root


@pytest.fixture
def options(weights) -> UpscalingOptions:
    return UpscalingOptions(weights=weights, batch_size=4)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def expected(source, options, tmp_path) -> dict[str, bytes]:
    return contents(upscale_tree(source, tmp_path / "whole", options, TRAINER))


def test_the_tree_is_mirrored_and_enlarged(source, expected, tmp_path):
    names = {path.relative_to(source).as_posix() for path in source.rglob("*.*")} - {"class0/broken.jpg"}
    assert set(expected) == names | {"manifest.json"}
    for name in names:
        small, large = (cv2.imread(str(root / name)) for root in (source, tmp_path / "whole"))
        assert large.shape[:2] == (2 * small.shape[0], 2 * small.shape[1])
    manifest = read_manifest(tmp_path / "whole")
    assert manifest["complete"]
    assert [entry["name"] for entry in manifest["unreadable"]] == ["class0/broken.jpg"]
    assert manifest["source"]["images"] == 24


def test_odd_images_come_out_upright_grey_and_on_white_and_the_rest_is_reported(tmp_path, options, capsys):
    source, destination = tmp_path / "odd", tmp_path / "enlarged"
    source.mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colours).save(source / "photo.png", exif=turned)
    Image.fromarray(colours[..., 0]).save(source / "grey.png")
    Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(source / "deep.tif")
    Image.fromarray(np.full((12, 16, 4), (255, 0, 255, 0), np.uint8)).save(source / "clear.webp", lossless=True)
    Image.fromarray(colours).save(source / "same.jpg")
    Image.fromarray(255 - colours).save(source / "same.bmp")
    (source / "film.mp4").write_bytes(b"x")
    (source / "._photo.png").write_bytes(b"x")
    upscale_tree(source, destination, options, TRAINER)
    images = {path.name: read_image(path) for path in destination.iterdir() if path.suffix != ".json"}
    assert set(images) == {"photo.png", "grey.png", "deep.tif", "clear.webp", "same.jpg", "same.bmp"}
    assert images["photo.png"].shape == (32, 24, 3)
    network = upscaling.build_upscaler(options, "cpu")
    assert np.array_equal(images["photo.png"], network.upscale([np.rot90(colours, -1)])[0])
    assert np.ptp(images["grey.png"].astype(int), axis=2).max() == 0
    assert np.array_equal(images["deep.tif"], images["grey.png"])
    assert np.array_equal(images["clear.webp"], network.upscale([np.full((12, 16, 3), 255, np.uint8)])[0])
    assert np.array_equal(images["same.bmp"], network.upscale([255 - colours])[0])
    assert read_manifest(destination)["reduced_to_8_bits"] == ["deep.tif"]
    for _ in range(2):
        errors = capsys.readouterr().err
        assert "1 images of over 8 bits were reduced to 8 bits, for example deep.tif" in errors
        assert "1 entries are not read" in errors
        assert errors.rstrip().count("film.mp4") == 1
        assert "left out" not in errors
        upscale_tree(source, destination, options, TRAINER)


def kill_while_writing(source: Path, destination: Path, options: UpscalingOptions, after: int) -> None:
    """Run the pass in another process that is killed half-way through writing an image."""

    def run() -> None:
        torch.set_num_threads(1)
        written = 0
        write_bytes = Path.write_bytes

        def write_or_die(path: Path, content: bytes) -> int:
            nonlocal written
            written += ".json" not in path.suffixes
            if written > after:
                write_bytes(path, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write_bytes(path, content)

        Path.write_bytes = write_or_die  # type: ignore[method-assign]
        upscale_tree(source, destination, options, TRAINER)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_pass_resumes_to_the_same_tree(source, options, expected, tmp_path):
    destination = tmp_path / "killed"
    for after in (0, 5, 9):
        kill_while_writing(source, destination, options, after)
        assert not read_manifest(destination)["complete"]
        assert any(".part." in name for name in contents(destination)), "it was killed while writing"
    upscale_tree(source, destination, options, TRAINER)
    assert contents(destination) == expected


def test_a_signal_stops_the_pass_after_a_batch_that_is_kept(source, options, expected, tmp_path, monkeypatch):
    original, batches = UpscalingModule.predict_step, []

    def signal_in_the_second(self, batch, batch_idx):
        batches.append([name for group in batch["groups"] for name in group["name"]])
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(UpscalingModule, "predict_step", signal_in_the_second)
    destination = tmp_path / "stopped"
    with STOP_SIGNALS.listen(), pytest.raises(Interruption) as caught:
        upscale_tree(source, destination, options, TRAINER)
    assert caught.value.exit_status == 143
    assert len(batches) == 2
    assert {name for batch in batches for name in batch} <= set(contents(destination)), "finished images are kept"
    upscale_tree(source, destination, options, TRAINER)
    assert contents(destination) == expected
    again = {name for batch in batches[:2] for name in batch} & {name for batch in batches[2:] for name in batch}
    assert len(again) < options.batch_size, "at most the batch of the unreadable image is computed again"


def test_a_pass_stopped_by_an_error_resumes_to_the_same_tree(source, options, expected, tmp_path, monkeypatch):
    original, calls = UpscaledTree.write, []

    def fail_once(self, name, image):
        calls.append(name)
        if len(calls) == 10:
            raise StorageError("disk full")
        original(self, name, image)

    monkeypatch.setattr(UpscaledTree, "write", fail_once)
    with pytest.raises(StorageError, match="disk full"):
        upscale_tree(source, tmp_path / "stopped", options, TRAINER)
    first = len(calls)
    upscale_tree(source, tmp_path / "stopped", options, TRAINER)
    assert contents(tmp_path / "stopped") == expected
    assert len(calls) - first < 23, "finished batches are not computed again"


def test_truncated_results_are_made_again(source, options, expected, tmp_path, monkeypatch):
    destination = tmp_path / "whole"
    (destination / "class1" / "1.jpg").write_bytes(expected["class1/1.jpg"][:-9])
    (destination / "class2" / "8.png").unlink()
    written = []
    original = UpscaledTree.write
    monkeypatch.setattr(UpscaledTree, "write", lambda *args: (written.append(args[1]), original(*args))[1])
    upscale_tree(source, destination, options, TRAINER)
    assert contents(destination) == expected
    assert {"class1/1.jpg", "class2/8.png"} <= set(written)
    assert len(written) <= 8, "only the batches of the two are made again"
    written.clear()
    upscale_tree(source, destination, options, TRAINER)
    assert written == [], "there is nothing left to do"


def test_a_repair_elsewhere_keeps_what_was_left_out(source, options, expected, tmp_path):
    (tmp_path / "whole" / "class2" / "8.png").unlink()  # not in the batch of the broken one, which is skipped
    upscale_tree(source, tmp_path / "whole", options, TRAINER)
    assert contents(tmp_path / "whole") == expected


def test_an_idle_process_changes_nothing(source, options, tmp_path):
    options.engine, options.batch_size = "lanczos", 24
    upscale_tree(source, tmp_path / "one", options, TRAINER)
    trainer = TrainerConfig(accelerator="cpu", devices="2", strategy="ddp_fork", progress_bar=False)
    upscale_tree(source, tmp_path / "two", options, trainer)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_process_that_finds_an_old_finished_tree_takes_part_in_the_pass(
    source, options, expected, tmp_path, monkeypatch
):
    """The first process rebuilds the tree; another must not leave because it has looked before."""
    passes = []
    second = SimpleNamespace(is_global_zero=False, predict=lambda *args, **kwargs: passes.append(args))
    monkeypatch.setattr(upscaling, "build_trainer", lambda *args, **kwargs: second)
    upscale_tree(source, tmp_path / "whole", options, TRAINER)
    assert not passes, "there is nothing to do"
    options.outscale, options.rebuild = 3.0, True
    upscale_tree(source, tmp_path / "whole", options, TRAINER)
    assert len(passes) == 1
    assert contents(tmp_path / "whole") == expected, "only the first process changes the tree"
    options.rebuild = False
    with pytest.raises(StaleTreeError):
        upscale_tree(source, tmp_path / "whole", options, TRAINER)


def test_the_command_prints_its_result_or_the_error(source, options, tmp_path, monkeypatch, capsys):
    words = [f"source={source}", f"destination={tmp_path / 'out'}", "trainer.progress_bar=false"]
    monkeypatch.setattr(sys, "argv", ["upscaling", *words, "upscaling.engine=lanczos"])
    upscaling.main()
    output = capsys.readouterr()
    assert f"upscaled images are in {tmp_path / 'out'}" in output.out
    assert "1 files were left out, for example class0/broken.jpg" in output.err
    monkeypatch.setattr(sys, "argv", ["upscaling", *words, "upscaling.engine=other"])
    with pytest.raises(SystemExit):
        upscaling.main()
    assert "error: upscaling.engine must be one of batched" in capsys.readouterr().err


def test_two_processes_give_the_same_tree_as_one(source, options, expected, tmp_path):
    trainer = TrainerConfig(accelerator="cpu", devices="2", strategy="ddp_fork", progress_bar=False)
    upscale_tree(source, tmp_path / "two", options, trainer)
    assert contents(tmp_path / "two") == expected


def test_changed_settings_and_sources_are_noticed(source, options, expected, tmp_path):
    destination = tmp_path / "whole"
    options.outscale = 3.0
    with pytest.raises(StaleTreeError, match=r"outscale was 2.0, now 3.0"):
        upscale_tree(source, destination, options, TRAINER)
    options.outscale = 2.0
    shutil.copy(source / "class1" / "1.jpg", source / "class1" / "new.jpg")
    with pytest.raises(StaleTreeError, match=r"source images was 24, now 25"):
        upscale_tree(source, destination, options, TRAINER)
    options.rebuild = True
    upscale_tree(source, destination, options, TRAINER)
    assert set(contents(destination)) == set(expected) | {"class1/new.jpg"}


def test_both_engines_write_nearly_the_same_images(source, options, tmp_path):
    options.engine = "realesrgan"
    upscale_tree(source, tmp_path / "peer", options, TRAINER)
    options.engine = "batched"
    upscale_tree(source, tmp_path / "ours", options, TRAINER)
    name = "class0/0.png"
    peer, ours = (cv2.imread(str(tmp_path / engine / name)).astype(int) for engine in ("peer", "ours"))
    assert np.abs(peer - ours).max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "other"}, "engine must be batched, realesrgan or lanczos"),
        ({"face_enhancer": "gfpgan-v1.3"}, "face_enhancer needs engine=realesrgan"),
        ({"engine": "realesrgan", "precision": "bfloat16"}, "float32 or float16, not bfloat16"),
    ],
)
def test_contradicting_options_are_refused(source, options, tmp_path, changes, message):
    for key, value in changes.items():
        setattr(options, key, value)
    with pytest.raises(InvalidOptionError, match=message):
        upscale_tree(source, tmp_path / "out", options, TRAINER)


def test_a_replaced_copy_is_announced_with_what_changed(source, options, tmp_path, capsys):
    options.engine, options.rebuild = "lanczos", True
    upscale_tree(source, tmp_path / "out", options, TRAINER)
    assert "are replaced" not in capsys.readouterr().err
    options.outscale = 3.0
    upscale_tree(source, tmp_path / "out", options, TRAINER)
    said = " ".join(capsys.readouterr().err.split())
    assert f"the images in {tmp_path / 'out'} are replaced: settings outscale was 2.0, now 3.0" in said


def test_a_destination_that_the_source_reaches_by_a_link_is_refused(source, options, tmp_path):
    out = tmp_path / "out"
    (out / "old").mkdir(parents=True)
    shutil.copy(source / "class1" / "1.jpg", out / "old" / "1.jpg")
    link = source / "class1" / "link"
    for target, destination in ((out, out), (out, out / "new"), (out / "old", out)):
        link.symlink_to(target)
        with pytest.raises(InvalidOptionError, match=r"\(by a link to .*must not lie within each other"):
            upscale_tree(source, destination, options, TRAINER)
        link.unlink()
    picture = source / "class1" / "link.jpg"
    picture.symlink_to(out / "old" / "1.jpg")
    with pytest.raises(InvalidOptionError, match="by a link to"):
        upscale_tree(source, out, options, TRAINER)


def test_a_link_to_a_folder_around_the_source_is_left_out_and_named(source, options, tmp_path, capsys):
    (tmp_path / "beside").mkdir()
    shutil.copy(source / "class1" / "1.jpg", tmp_path / "beside" / "1.jpg")
    (source / "class0" / "broken.jpg").unlink()
    (source / "up").symlink_to("..")
    options.engine = "lanczos"
    for _ in range(2):  # also when the copy is complete
        upscale_tree(source, tmp_path / "out", options, TRAINER)
        assert "1 files were left out, for example up: a link back to a folder above it" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("beside"))


def test_a_link_within_the_destination_is_refused(source, options, tmp_path):
    options.engine = "lanczos"
    out = upscale_tree(source, tmp_path / "out", options, TRAINER)
    shutil.rmtree(out / "class1")
    (out / "class1").symlink_to(source / "class1")
    with pytest.raises(StaleTreeError, match="class1 is a link to"):
        upscale_tree(source, tmp_path / "out", options, TRAINER)


def test_a_destination_within_the_source_is_refused(source, options):
    for destination in (source, source / "out", source.parent):
        with pytest.raises(InvalidOptionError, match="must not lie within each other"):
            upscale_tree(source, destination, options, TRAINER)


@pytest.mark.parametrize("recipe", ["paper", "demo", "fast"])
def test_recipes_fit_the_schema(recipe):
    config = load_config(UpscalingConfig, "upscaling", [f"recipe={recipe}", "source=a", "destination=b"], "demo")
    assert config.upscaling.outscale == 2
