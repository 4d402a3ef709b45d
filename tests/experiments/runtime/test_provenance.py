import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

import experiments.runtime.provenance
from datamodules.aff_wild2 import AffWild2DataModule, load_splits
from datamodules.affectnet import AffectNetDataModule
from experiments.runtime.provenance import data_digest, describe_environment


def test_the_revision_is_gits_and_changes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    monkeypatch.setattr(experiments.runtime.provenance, "__file__", str(tmp_path / "code.py"))
    found = describe_environment(3, "cpu")
    assert found["git_revision"] == git("rev-parse", "HEAD")
    assert found["git_dirty"] is False
    (tmp_path / "code.py").write_text("2")
    assert describe_environment(3, "cpu")["git_dirty"] is True


def test_outside_a_checkout_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(experiments.runtime.provenance, "__file__", str(tmp_path / "code.py"))
    found = describe_environment(3, "cpu")
    assert found["git_revision"] is None
    assert found["seed"] == 3
    assert found["command"][0] == "python"


@pytest.mark.parametrize(("accelerator", "expected"), [("cpu", "a processor"), ("auto", "a card"), ("gpu", "a card")])
def test_the_device_is_the_one_that_was_used(monkeypatch: pytest.MonkeyPatch, accelerator: str, expected: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(experiments.runtime.provenance.platform, "machine", lambda: "a processor")
    assert describe_environment(0, accelerator)["device"] == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert describe_environment(0, accelerator)["device"] == "a processor"


def test_opencvs_version_is_told():
    assert describe_environment(0, "cpu")["versions"]["opencv"] == cv2.__version__


def test_copies_of_a_set_have_one_digest_and_a_changed_label_another(affectnet_csv: Path, tmp_path: Path):
    def digest(root: Path) -> str:
        data = AffectNetDataModule(
            str(root), cache_dir=str(tmp_path / "cache"), image_size=32, mean=(0, 0, 0), std=(1, 1, 1),
            batch_size=8, num_workers=0,
        )  # fmt: skip
        data.setup()
        return data_digest(data.datasets)

    copy = tmp_path / "elsewhere"
    shutil.copytree(affectnet_csv, copy)
    os.utime(copy / "training.csv", (1, 1))
    assert digest(copy) == digest(affectnet_csv)
    table = copy / "training.csv"
    table.write_text(table.read_text().replace("1;2;3,3,", "1;2;3,4,", 1))
    assert digest(copy) != digest(affectnet_csv)


def test_frames_have_the_same_digest_as_annotations_and_as_images(aff_wild2: Path):
    data = AffWild2DataModule(str(aff_wild2), image_size=32, mean=(0, 0, 0), std=(1, 1, 1), batch_size=8, num_workers=0)
    data.setup()
    assert data_digest(load_splits(aff_wild2)) == data_digest(data.datasets)
    rows = data.annotations["val"]
    swapped = replace(rows, name=rows.name[::-1])
    assert data_digest({**data.annotations, "val": swapped}) != data_digest(data.annotations)
