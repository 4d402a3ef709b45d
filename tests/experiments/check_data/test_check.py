import json
import os
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import MissingFileError
from affect.stop_signals import STOP_SIGNALS, Interruption
from experiments.check_data import image_pass
from experiments.check_data.check import CheckConfig, check_data, main
from tests.experiments.check_data.conftest import check_into


def test_the_run_folder_holds_report_table_metrics_and_picture(affectnet_csv: Path, tmp_path: Path) -> None:
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("0/gone.jpg,4,4,24,24,1;2,1,0.5,0.5\n" * 2 + "0/0.jpg,4,4\n" * 15)
    report = check_into(affectnet_csv, tmp_path / "runs")
    folder = tmp_path / "runs/check_data/latest"
    assert not report.is_usable
    text = (folder / "report.md").read_text()
    assert (
        "**Not usable as it is: 16 problems that stop a training (3 fields, expected 9; an image is missing).**" in text
    )
    assert "### 3 fields, expected 9 (train): 15\n\n- `training.csv:48`\n" in text
    assert "... and 5 more in problems.csv" in text
    assert "- train: 3 rows without expression (None, Uncertain, No-Face) are left out" in text
    assert "- train: 1 rows without face box are left out" in text
    assert "| Happiness | 7 | 2 |" in text
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["problems/stops"] == 16
    assert (metrics["samples/train"], metrics["samples/train/Happiness"]) == (42, 7)
    assert (metrics["images/listed"], metrics["images/opened"], metrics["images/decoded"]) == (57, 56, 56)
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet.std() > 20
    assert {path.name for path in folder.iterdir()} == {
        "report.md", "problems.csv", "metrics.json", "contact_sheet.png", "config.yaml", "provenance.json", "run.log",
    }  # fmt: skip


@pytest.mark.usefixtures("no_pictures")
def test_worker_processes_find_the_same(affectnet_npy: Path, tmp_path: Path) -> None:
    image = affectnet_npy / "val_set/images/44.jpg"
    image.write_bytes(image.read_bytes()[:-100])
    alone = check_into(affectnet_npy, tmp_path / "runs")
    shared = check_into(affectnet_npy, tmp_path / "runs", num_workers=2)
    assert alone.problems == shared.problems
    assert len(alone.problems) == 1


@pytest.mark.usefixtures("no_pictures")
def test_headers_and_samples_open_all_and_decode_some(affectnet_npy: Path, tmp_path: Path) -> None:
    train = affectnet_npy / "train_set/images"
    for path in train.iterdir():
        path.write_bytes(path.read_bytes()[:-100])  # which no header shows
    (train / "0.jpg").write_bytes(b"no image")
    report = check_into(affectnet_npy, tmp_path / "runs", decode="headers")
    assert [problem.file for problem in report.problems] == ["train_set/images/0.jpg"]
    assert "56 of 56 images opened and 0 decoded" in report.coverage
    report = check_into(affectnet_npy, tmp_path / "runs", decode="sample", sample_size=54)
    unreadable = sum(problem.kind == "an image cannot be read" for problem in report.problems)
    assert 38 <= unreadable <= 40, "all but two of the images were decoded"
    assert "a sample, seed 42" in report.coverage


@pytest.mark.usefixtures("no_pictures")
def test_counts_of_a_set_of_the_official_size_are_compared(affectnet_csv: Path, tmp_path: Path) -> None:
    rows = [f"1/{number}.jpg,4,4,24,24,1;2,1,0.5,0.5" for number in range(80_000)]
    with (affectnet_csv / "training.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    report = check_into(affectnet_csv, tmp_path / "runs", decode="headers")
    assert [problem.detail for problem in report.problems if problem.kind.startswith("counts differ")] == [
        "80,040 samples instead of 287,651"
    ]
    text = (tmp_path / "runs/check_data/latest/report.md").read_text()
    assert "| expression | train | published | val |" in text
    assert "| Happiness | 80,005 | 134,415 | 2 |" in text


@pytest.mark.usefixtures("no_pictures")
def test_counts_of_an_official_list_are_compared(aff_wild2: Path, tmp_path: Path) -> None:
    units = ",".join(["0"] * 12)
    with (aff_wild2 / "validation_set_annotations.txt").open("a") as file:
        file.writelines(f"video9/{100 + number:05d}.jpg,0,0,1,{units}\n" for number in range(7_000))
    report = check_into(aff_wild2, tmp_path / "runs", decode="headers")
    (problem,) = [problem for problem in report.problems if problem.kind.startswith("counts differ")]
    assert (problem.effect, problem.split) == ("stops", "val")
    assert "rows 7080 instead of 26876" in problem.detail


def test_a_signal_ends_the_pass_and_the_report_covers_what_was_opened(
    affectnet_npy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    inspect = image_pass.inspect_image

    def stop_at_the_third(path: Path, decode: bool) -> image_pass.ImageState:
        opened.append(path)
        if len(opened) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return inspect(path, decode)

    monkeypatch.setattr(image_pass, "inspect_image", stop_at_the_third)
    (affectnet_npy / "train_set/images/0.jpg").write_bytes(b"no image")
    with STOP_SIGNALS.listen(), pytest.raises(Interruption):
        check_into(affectnet_npy, tmp_path / "runs")
    assert 3 <= len(opened) < 56
    (folder,) = (tmp_path / "runs/check_data").iterdir()
    text = (folder / "report.md").read_text()
    assert "**The check was stopped early; until then: not usable as it is: 1 problems that stop a training" in text
    assert f"{len(opened)} of 56 images opened" in text
    assert not (folder / ".lock").exists()


@pytest.mark.usefixtures("no_pictures")
def test_the_command_ends_with_a_status(
    affectnet_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def status(*words: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["check_data", *words, "num_workers=0", f"output_dir={tmp_path}/runs", "--quiet"]
        )
        try:
            main()
        except SystemExit as end:
            return int(str(end.code))
        return 0

    wanted = [f"data.root={affectnet_csv}", "look_alike=null"]
    assert status(*wanted) == 0
    assert capfd.readouterr().out == ""
    (affectnet_csv / "Manually_Annotated_Images/0/0.jpg").unlink()
    assert status(*wanted) == 1
    assert "an image is missing" in capfd.readouterr().err
    assert status(f"data.root={tmp_path}/nowhere") == 2
    assert "there is no folder" in capfd.readouterr().err
    assert status(*wanted, "decode=some") == 2


@pytest.mark.usefixtures("no_pictures")
def test_without_a_folder_the_demo_sets_are_checked(
    affectnet_csv: Path, aff_wild2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = CheckConfig(num_workers=0, progress_bar=False, look_alike=None)
    with pytest.raises(MissingFileError, match="no demo set below data/demo"):
        check_data(config)
    (tmp_path / "data/demo").mkdir(parents=True)
    affectnet_csv.rename("data/demo/affectnet")
    aff_wild2.rename("data/demo/aff_wild2")
    check_data(config)
    titles = {path.read_text().splitlines()[0] for path in Path("runs/check_data").glob("[0-9]*/report.md")}
    assert titles == {"# AffectNet (csv layout)", "# s-Aff-Wild2"}


def test_a_damaged_image_that_can_be_decoded_is_noted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = bytearray(cv2.imencode(".jpg", noise)[1].tobytes())
    content[-600:-500] = bytes(100)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    state = image_pass.inspect_image(path, decode=True)
    assert not state.fault
    assert state.remarks == ("is damaged, but can be decoded",)
