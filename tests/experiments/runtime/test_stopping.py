"""SIGTERM and Ctrl-C, sent to real processes."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def start(affectnet: Path, out: Path, *more: str) -> subprocess.Popen:
    words = [
        f"data.root={affectnet}", f"data.cache_dir={out}/cache", f"output_dir={out}", "recipe=debug",
        "data.image_size=32", "data.batch_size=5", "model.architecture=test_efficientnet.r160_in1k",
        "stages.everything.epochs=400", "trainer.limit_train_batches=3", "trainer.accelerator=cpu",
        "trainer.progress_bar=false", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.pretrain", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(process: subprocess.Popen, out: Path, pattern: str) -> None:
    while not any(out.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_with_workers_keeps_the_finished_epochs_and_prints_the_command_that_continues(
    shared_affectnet_csv: Path, tmp_path: Path
) -> None:
    process = start(shared_affectnet_csv, tmp_path, "data.num_workers=2")
    try:
        wait_for(process, tmp_path, "pretrain/*/checkpoints/last.ckpt")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    (folder,) = (tmp_path / "pretrain").iterdir()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "KeyboardInterrupt" not in err
    assert "stopped by SIGINT. Finished work is kept" in err
    command = shlex.split(err.strip().splitlines()[-1])
    assert command == [sys.executable, "-m", "experiments.pretrain", f"resume={folder}"]
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert not any(".part" in path.name for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_lost_process_ends_the_others_with_a_message(shared_affectnet_csv: Path, tmp_path: Path) -> None:
    process = start(shared_affectnet_csv, tmp_path, "trainer.devices=2")
    try:
        wait_for(process, tmp_path, "pretrain/*/checkpoints/last.ckpt")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (second,) = [pid for pid in children if b"pretrain" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(second), signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    (folder,) = (tmp_path / "pretrain").iterdir()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"process {second} of this run (rank 1) was killed by SIGKILL" in err
    assert f"resume={folder}" in err


if not sys.platform.startswith("linux"):
    pytest.skip("reads /proc", allow_module_level=True)
