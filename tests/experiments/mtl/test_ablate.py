"""The ablation of stage 2 and its baseline, on a tiny set with tiny networks."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from affect.storage.atomic_write import write_json
from datamodules.aff_wild2 import LISTS, load_annotations
from experiments.mtl.ablate import BASELINE, BASELINE_PUBLISHED, VARIANTS, ablate, draw, row_of, table_columns
from experiments.mtl.config import MtlConfig
from experiments.mtl.find_baseline import find_baseline, identify_data
from experiments.mtl.train_baseline import MtlBaselineConfig, mtl_baseline
from experiments.runtime.config.load import load_config, save_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.reports.ablation import AblationRows

MakeWords = Callable[..., list[str]]


def test_the_ablation_lists_every_variant_and_the_baseline(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> None:
    baseline = [word for word in words() if not word.startswith(("backbone=", "features.", "heads."))]
    baseline += ["model.architecture=test_efficientnet.r160_in1k", "model.weights=none", "data.image_size=32"]
    baseline += ["stages.classifier.epochs=0", "stages.everything.epochs=1"]
    scored = mtl_baseline(load_config(MtlBaselineConfig, "mtl_baseline", baseline, "demo"))
    assert (tmp_path / "runs" / "mtl_baseline" / "latest" / "predictions_validation.parquet").is_file()

    table = ablate(load_config(MtlConfig, "mtl", words("trainer.max_epochs=2"), "demo"))
    assert table["variant"].tolist() == [*(variant.name for variant in VARIANTS), BASELINE]
    written = pd.read_csv(tmp_path / "runs" / "mtl_ablation" / "latest" / "ablation.csv")
    pd.testing.assert_frame_equal(written, table)
    last = table.iloc[-1]
    assert last["mtl_score"] == pytest.approx(scored["val/mtl_score"])
    best = table[table["variant"] == "slice, both"].iloc[0]
    assert not [column for column in table if "published" in column], "this is not the official set"
    assert best["au_f1@smoothed_thresholds"] >= best["au_f1@smoothed"]
    assert len(list((tmp_path / "cache").rglob("features.npy"))) == 2, "extracted once for all variants"


def written(path: Path, rows: list[dict[str, Any]], official: bool) -> pd.DataFrame:
    table = AblationRows(path, table_columns(official))
    table.add(rows)
    pd.testing.assert_frame_equal(pd.read_csv(path), table.table())
    return table.table()


def test_published_values_stand_beside_those_of_the_official_set_alone(tmp_path: Path) -> None:
    metrics = {f"val/{name}": 0.5 for name in ("va_ccc", "mtl_score", "mtl_score@thresholds")}
    rows = [row_of(variant.name, metrics, variant.published) for variant in VARIANTS]
    rows.append(row_of(BASELINE, {}, BASELINE_PUBLISHED))
    table = written(tmp_path / "ablation.csv", rows, official=True)
    published = dict(zip(table["variant"], table["published_mtl_score"], strict=True))
    assert published["slice, both"] == 1.2765
    assert published[BASELINE] == 0.30
    columns = table.columns.tolist()
    assert columns.index("published_mtl_score@thresholds") == columns.index("mtl_score@thresholds") + 1
    marks = [line for line in draw(table).axes[0].get_lines() if line.get_marker() == "D"]
    assert len(marks) == 1
    other = written(tmp_path / "ablation.csv", rows, official=False)
    assert not [column for column in other if "published" in column]
    assert not draw(other).axes[0].get_lines()


@pytest.mark.parametrize("word", ["stream.root=.", "heads.refit=true"])
def test_keys_that_have_no_part_in_it_are_refused(words: MakeWords, word: str) -> None:
    with pytest.raises(ConfigError, match="neither a second stream"):
        ablate(load_config(MtlConfig, "mtl", words(word), "demo"))


@pytest.fixture
def baseline_run(words: MakeWords, tmp_path: Path, aff_wild2: Path) -> Path:
    """A folder that looks like a finished run of the baseline on the tiny set."""
    folder = tmp_path / "runs" / "mtl_baseline" / "latest"
    config = load_config(MtlBaselineConfig, "mtl_baseline", [], "demo")
    config.calibration = load_config(MtlConfig, "mtl", words(), "demo").calibration
    write_json(folder / "metrics.json", {"val/mtl_score": 0.5})
    write_json(folder / "provenance.json", identify(aff_wild2))
    save_config(config, folder / "config.yaml")
    return folder


def identify(root: Path) -> dict[str, Any]:
    return identify_data(root, [name for split in LISTS for name in load_annotations(root, split).name])


def reason(words: list[str], root: Path) -> str:
    config = load_config(MtlConfig, "mtl", words, "demo")
    run, why = find_baseline(config, identify(root), MtlBaselineConfig)
    assert run.metrics == ({} if why else {"val/mtl_score": 0.5})
    assert "\n" not in why
    return why


def test_a_baseline_run_of_the_same_data_and_settings_is_taken(
    words: MakeWords, baseline_run: Path, aff_wild2: Path, tmp_path: Path
) -> None:
    assert reason(words(), aff_wild2) == ""
    copied = Path(shutil.copytree(aff_wild2, tmp_path / "copied"))
    os.utime(copied / LISTS["train"], (1, 1))
    assert reason(words(f"data.root={copied}"), copied) == "", "content counts, not place and time"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["seed=7"], "has seed 42 instead of 7;"),
        (["calibration.thresholds=exact"], "has other calibration settings;"),
        (["recipe=paper"], "has recipe demo instead of paper"),
    ],
)
def test_a_baseline_run_with_other_settings_is_not_taken(
    words: MakeWords, baseline_run: Path, aff_wild2: Path, more: list[str], message: str
) -> None:
    assert message in reason(words(*more), aff_wild2)


def test_a_baseline_run_of_other_data_is_not_taken(words: MakeWords, baseline_run: Path, aff_wild2: Path) -> None:
    listing = aff_wild2 / LISTS["val"]
    whole = listing.read_text()
    listing.write_text(whole.replace(",1\n", ",0\n", 1))
    assert f"another {LISTS['val']};" in reason(words(), aff_wild2)
    listing.write_text(whole)
    assert reason(words(), aff_wild2) == ""
    (aff_wild2 / "cropped_aligned" / "video0" / "00001.jpg").write_bytes(b"another picture")
    assert "has other images;" in reason(words(), aff_wild2)


def test_a_shortened_damaged_or_absent_baseline_run_is_not_taken(
    words: MakeWords, baseline_run: Path, aff_wild2: Path
) -> None:
    settings = baseline_run / "config.yaml"
    whole = settings.read_text()
    settings.write_text(whole.replace("max_epochs: null", "max_epochs: 1"))
    assert "has trainer.max_epochs=1;" in reason(words(), aff_wild2)
    settings.write_text(whole)
    for name, content in (("metrics.json", "{"), ("provenance.json", "[]"), ("config.yaml", "a: [")):
        before = (baseline_run / name).read_bytes()
        (baseline_run / name).write_text(content)
        assert str(baseline_run / name) in reason(words(), aff_wild2)
        (baseline_run / name).write_bytes(before)
    (baseline_run / "metrics.json").unlink()
    assert "no finished run" in reason(words(), aff_wild2)
