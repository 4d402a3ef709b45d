"""Stage 2 end to end on a tiny set with a tiny network."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from affect.calibration.calibrator import Calibrator
from affect.errors import MissingFileError
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.networks.head_file import load_heads
from affect.submissions.mtl import validate_mtl_submission
from datamodules.aff_wild2 import load_annotations, load_test_names
from datamodules.images.dataset import UnreadableImageError
from datamodules.readers.aff_wild2 import read_annotations
from datamodules.readers.annotation_errors import AnnotationError
from experiments.mtl import submit as submission
from experiments.mtl.config import MtlConfig
from experiments.mtl.submit import MtlSubmitConfig, mtl_submit
from experiments.mtl.train import mtl
from experiments.runtime.config.load import load_config
from experiments.runtime.config.options import ConfigError

STEPS = ("", "@thresholds", "@thresholds_crossfit", "@smoothed", "@calibrated", "@calibrated_crossfit")
MakeWords = Callable[..., list[str]]


def run_mtl(words: list[str]) -> dict[str, float]:
    return mtl(load_config(MtlConfig, "mtl", words, "demo"))


def test_a_run_learns_and_writes_what_it_promises(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    metrics = run_mtl(words("heads.network=separate"))
    folder = tmp_path / "runs" / "mtl" / "latest"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    for step in STEPS:
        for name in ("mtl_score", "valence_ccc", "arousal_ccc", "va_ccc", "expression_f1", "au_f1"):
            assert f"val/{name}{step}" in metrics
        for name in AFFWILD2_EXPRESSIONS:
            assert f"val/expression_f1/{name}{step}" in metrics
        for name in ACTION_UNITS:
            assert f"val/au_f1/{name}{step}" in metrics
        parts = [metrics[f"val/{name}{step}"] for name in ("va_ccc", "expression_f1", "au_f1")]
        assert metrics[f"val/mtl_score{step}"] == pytest.approx(sum(parts))
    assert metrics["val/va_ccc"] > 0.5, "shade and colour of the frames tell valence and arousal"
    assert metrics["val/au_f1@thresholds"] >= metrics["val/au_f1"]
    assert metrics["val/va_ccc@calibrated"] == metrics["val/va_ccc@smoothed"]

    pictures = {path.stem for path in (folder / "figures").iterdir()}
    assert pictures == {"thresholds", "confusion_matrix", "valence_arousal", "timeline", "training_curves"}
    _, spec = load_heads(folder / "heads.safetensors")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["backbone_sha256"] == spec.features_from
    assert len(provenance["data_fingerprint"]) == 64
    assert Calibrator.load(folder / "calibrator.json").smoothing["expression"].window == 30

    table = pd.read_parquet(folder / "predictions_validation.parquet")
    rows = read_annotations(aff_wild2 / "validation_set_annotations.txt")
    assert table["name"].tolist() == rows.name
    np.testing.assert_array_equal(table["label/expression"], rows.expression)
    np.testing.assert_array_equal(table["label/AU26"], rows.action_units[:, -1])
    np.testing.assert_allclose(table[[f"raw/{name}" for name in AFFWILD2_EXPRESSIONS]].sum(axis=1), 1, rtol=1e-5)
    assert table["raw/Valence"].between(-1, 1).all()
    assert not np.allclose(table["smoothed/Valence"], table["raw/Valence"])


@pytest.mark.usefixtures("no_figures")
def test_the_same_seed_gives_the_same_numbers(words: MakeWords, tmp_path: Path) -> None:
    first = run_mtl(words("trainer.max_epochs=2"))
    second = run_mtl(words("trainer.max_epochs=2", f"features.cache_dir={tmp_path / 'other'}"))
    other = run_mtl(words("trainer.max_epochs=2", "seed=7"))
    first.pop("wall_seconds"), second.pop("wall_seconds")
    assert first == second
    assert first["val/mtl_score"] != other["val/mtl_score"]


def submit(folder: Path, *more: str) -> Path:
    config = load_config(MtlSubmitConfig, "mtl", [f"run={folder}", *more], str(folder / "config.yaml"))
    return mtl_submit(config)


@pytest.mark.usefixtures("no_figures")
def test_a_submission_has_a_valid_line_for_every_row(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    run_mtl(words("heads.refit=true"))
    folder = tmp_path / "runs" / "mtl" / "latest"
    assert (folder / "heads_refit.safetensors").is_file()
    path = submit(folder)
    names = load_test_names(aff_wild2)
    validate_mtl_submission(path, names)
    lines = path.read_text().splitlines()[1:]
    assert lines[2].split(",")[1:] == lines[6].split(",")[1:], "the repeated row says the same again"
    metrics = json.loads((path.parent / "metrics.json").read_text())
    assert metrics["test/missing"] == 1
    assert metrics["test/rows"] == len(names)
    assert metrics["test/mtl_score"] > 1, "the truth lies beside this set"
    again = submit(folder, f"output={tmp_path / 'elsewhere.txt'}")
    assert again == tmp_path / "elsewhere.txt"
    assert again.read_text() == path.read_text()
    listed = (path.parent / "missing_test.txt").read_text()
    assert listed.startswith("video10/00008.jpg")


@pytest.mark.usefixtures("no_figures")
def test_a_missing_test_image_takes_the_frame_before(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    run_mtl(words("trainer.max_epochs=2"))  # with smoothing, in which the missing image takes no part
    path = submit(tmp_path / "runs" / "mtl" / "latest")
    rows = {line.split(",")[0]: line.split(",")[1:] for line in path.read_text().splitlines()[1:]}
    assert rows["video10/00008.jpg"] == rows["video10/00007.jpg"]


@pytest.mark.usefixtures("no_figures")
def test_a_missing_validation_image_is_treated_as_one_of_the_test_list(
    words: MakeWords, tmp_path: Path, aff_wild2: Path
) -> None:
    names = load_annotations(aff_wild2, "val").name
    (aff_wild2 / "cropped_aligned" / names[3]).unlink()
    run_mtl(words("trainer.max_epochs=2", "data.max_missing=1"))
    table = pd.read_parquet(tmp_path / "runs/mtl/latest/predictions_validation.parquet")
    assert table["name"].tolist() == names
    for stage in ("raw", "smoothed"):
        values = table.filter(like=f"{stage}/").to_numpy()
        assert (values[3] == values[2]).all()
        assert (values[4] != values[3]).any()


def test_keys_of_the_training_cannot_be_changed_for_the_submission(
    words: MakeWords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_mtl(words("trainer.max_epochs=1"))
    folder = tmp_path / "runs/mtl/latest"
    monkeypatch.setattr(sys, "argv", ["mtl_submit", f"run={folder}", "calibration.keep=all"])
    with pytest.raises(SystemExit, match="2"):
        submission.main()
    assert "calibration.keep is settled by" in capsys.readouterr().err


@pytest.mark.usefixtures("no_figures")
def test_a_test_set_that_was_not_unpacked_is_refused(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    run_mtl(words("trainer.max_epochs=1"))
    names = load_test_names(aff_wild2)
    for name in names[len(names) // 4 :]:
        (aff_wild2 / "cropped_aligned" / name).unlink(missing_ok=True)
    with pytest.raises(UnreadableImageError, match="Is the set unpacked in"):
        submit(tmp_path / "runs" / "mtl" / "latest")


@pytest.mark.usefixtures("no_figures")
def test_submitting_with_another_backbone_is_refused(words: MakeWords, tmp_path: Path, tiny_backbone: Path) -> None:
    run_mtl(words("trainer.max_epochs=1"))
    from affect.networks.backbone_file import load_backbone, save_backbone

    backbone, spec = load_backbone(tiny_backbone)
    torch.nn.init.zeros_(backbone.classifier.bias)  # type: ignore[arg-type]
    save_backbone(tmp_path / "other.safetensors", backbone, spec)
    with pytest.raises(ConfigError, match="is not the network that the heads"):
        submit(tmp_path / "runs" / "mtl" / "latest", f"backbone={tmp_path / 'other.safetensors'}")


def test_submitting_without_a_run_names_the_command_that_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mtl_submit", f"run={tmp_path / 'gone'}"])
    with pytest.raises(SystemExit, match="2"):
        submission.main()
    assert "make mtl" in capsys.readouterr().err


@pytest.mark.usefixtures("no_figures")
def test_the_second_stream_is_blended_and_submitted(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    streams = tmp_path / "openface"
    streams.mkdir()
    for split in ("training", "validation", "test"):
        rows = read_annotations(aff_wild2 / f"{split}_set_annotations.txt")
        for name, units in zip(rows.name, np.nan_to_num(rows.action_units), strict=True):
            video, frame = name.split("/")
            path = streams / f"{video}.csv"
            if not path.exists():
                path.write_text("frame, confidence, success, AU01_r, AU04_r\n")
            with path.open("a") as file:
                file.write(f"{int(frame[:5])}, 0.9, {int(int(frame[:5]) % 7 != 0)}, {units[0]}, {units[2]}\n")
    (streams / "video7.csv").unlink()
    more = words("trainer.max_epochs=5", f"stream.root={streams}", "stream.weight={action_units: 0.3}")
    blended = run_mtl(more)
    plain = run_mtl(words("trainer.max_epochs=5"))
    assert blended["val/va_ccc"] == plain["val/va_ccc"]
    assert blended["val/expression_f1"] == plain["val/expression_f1"]
    assert blended["val/au_f1/AU1"] != plain["val/au_f1/AU1"]
    run_mtl([*more, "heads.network=joint", "heads.refit=true"])
    folder = tmp_path / "runs" / "mtl" / "latest"
    validate_mtl_submission(submit(folder), load_test_names(aff_wild2))
    refit, spec = load_heads(folder / "stream_heads_refit.safetensors")
    assert spec.features_from == "columns AU01_r,AU04_r"
    first, _ = load_heads(folder / "stream_heads.safetensors")
    assert any((one != other).any() for one, other in zip(refit.parameters(), first.parameters(), strict=True))
    with pytest.raises(ConfigError, match=r"the test tables have the columns AU04_r, but the heads take the col"):
        submit(folder, "stream.columns=AU04_r")
    with pytest.raises(ConfigError, match=r"stream\.root=gone: no folder"):
        run_mtl([*more, "stream.root=gone"])


@pytest.mark.usefixtures("no_figures")
def test_user_errors_are_named(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    with pytest.raises(MissingFileError, match="make pretrain"):
        run_mtl(words(f"backbone={tmp_path / 'gone.safetensors'}"))
    (aff_wild2 / "training_set_annotations.txt").unlink()
    with pytest.raises(AnnotationError, match="training_set_annotations"):
        run_mtl(words())
