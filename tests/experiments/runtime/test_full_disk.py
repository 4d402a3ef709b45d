"""A real disk without room, or read-only: a small tmpfs, where mounting is permitted."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from affect.storage.atomic_write import write_array
from affect.storage.feature_store import StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter
from affect.storage.upscaled_tree import UpscaledTree
from affect.storage.write_errors import StorageError
from datamodules.index_cache import cached_table
from demo_data.affectnet import write_affectnet
from experiments.runtime.checkpoint_io import AtomicCheckpointIO
from experiments.runtime.config.load import RunConfig, WandbConfig
from experiments.runtime.run import Run


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a disk; the parameter gives its mount options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("small_disk", ["size=256k"], indirect=True)
@pytest.mark.parametrize("layout", ["a", "b"])
def test_a_demo_set_that_does_not_fit_is_a_message_and_leaves_nothing(small_disk: Path, layout: Any) -> None:
    with pytest.raises(StorageError, match=r"cannot be written: No space left.*bytes are free there"):
        write_affectnet(small_disk / "set", layout=layout, train=96, validation=8, size=136, workers=1)
    assert [path.name for path in small_disk.iterdir()] == [".set.lock"]


@pytest.mark.parametrize("small_disk", ["size=64k"], indirect=True)
def test_files_that_do_not_fit_are_messages_and_leave_nothing(small_disk: Path) -> None:
    content = {"weights": torch.zeros(100_000)}
    with pytest.raises(StorageError, match=r"last\.ckpt \(40\d,\d{3} bytes\) cannot be written: No space left"):
        AtomicCheckpointIO().save_checkpoint(content, small_disk / "last.ckpt")
    with pytest.raises(StorageError, match=r"x\.npy \(80\d,\d{3} bytes\)"):
        write_array(small_disk / "x.npy", np.zeros(100_000))
    table = pd.DataFrame({"x": np.random.default_rng(0).random(100_000)})
    with pytest.warns(UserWarning, match=r"cache cannot be kept: .*\([\d,]+ bytes\) cannot be written: No space left"):
        cached_table(small_disk, "key", "state", lambda: table)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("small_disk", ["nr_inodes=2"], indirect=True)
def test_a_run_folder_that_does_not_fit_is_a_message(small_disk: Path) -> None:
    config = RunConfig("x", output_dir=str(small_disk), wandb=WandbConfig(mode="disabled"))
    with pytest.raises(StorageError, match=r"story/\S+ cannot be written: No space left"):
        Run("story", config, small_disk)


@pytest.mark.parametrize("small_disk", ["size=4m"], indirect=True)
def test_a_disk_that_became_read_only_is_a_message_for_every_writer(small_disk: Path, tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    tree = UpscaledTree(small_disk / "tree", {"scale": 2}, "digest", ["a.png"])
    tree.open()
    writer = FeatureStoreWriter(small_disk / "store", StorePlan(["v/1.jpg"], {"features": 2}, {}))
    writer.prepare()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    config = RunConfig("x", output_dir=str(small_disk), wandb=WandbConfig(mode="disabled"))
    for write in (
        lambda: write_array(small_disk / "x.npy", np.zeros(3)),
        lambda: AtomicCheckpointIO().save_checkpoint({"x": 1}, small_disk / "last.ckpt"),
        lambda: tree.write("a.png", image),
        lambda: writer.write(0, np.zeros((1, 2), np.float32), {}),
        lambda: Run("story", config, small_disk),
        lambda: write_affectnet(small_disk / "set", train=8, validation=8, workers=1),
    ):
        with pytest.raises(StorageError, match=r"cannot be written: Read-only file system\..*fix the cause"):
            write()
    with pytest.warns(UserWarning, match=r"cache cannot be kept: .*Read-only file system"):
        cached_table(small_disk, "key", "state", lambda: pd.DataFrame({"x": [1]}))
