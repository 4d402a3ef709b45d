"""The ablation of stage 2 and its baseline, on a tiny set with tiny networks."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from experiments.config import load_config
from experiments.mtl_ablation import BASELINE, VARIANTS, ablate
from experiments.mtl_baseline import MtlBaselineConfig, mtl_baseline
from experiments.mtl_config import MtlConfig
from experiments.options import ConfigError

MakeWords = Callable[..., list[str]]


def test_the_ablation_lists_every_variant_and_the_baseline(
    words: MakeWords, tmp_path: Path, aff_wild2: Path
) -> None:
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
    assert last["published_mtl_score"] == 0.30
    best = table[table["variant"] == "slice, both"].iloc[0]
    assert best["published_mtl_score"] == 1.2765
    columns = table.columns.tolist()
    assert columns.index("published_mtl_score@thresholds") == columns.index("mtl_score@thresholds") + 1
    assert best["au_f1@smoothed_thresholds"] >= best["au_f1@smoothed"]
    assert len(list((tmp_path / "cache").rglob("features.npy"))) == 2, "extracted once for all variants"


@pytest.mark.parametrize("word", ["stream.root=.", "heads.refit=true"])
def test_keys_that_have_no_part_in_it_are_refused(words: MakeWords, word: str) -> None:
    with pytest.raises(ConfigError, match="neither a second stream"):
        ablate(load_config(MtlConfig, "mtl", words(word), "demo"))
