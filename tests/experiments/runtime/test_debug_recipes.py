"""The debug recipes run through, on sets of a few images."""

from pathlib import Path

import pytest

import experiments.synthetic.train
from demo_data.synthetic_faces import write_synthetic_faces
from experiments.mtl.train_baseline import MtlBaselineConfig, mtl_baseline
from experiments.runtime.config.load import load_config
from experiments.synthetic.config import SyntheticConfig
from experiments.synthetic.train import synthetic


def words(tmp_path: Path, root: Path) -> list[str]:
    return [
        f"data.root={root}",
        f"output_dir={tmp_path / 'runs'}",
        "trainer.progress_bar=false",
        "recipe=debug",
    ]


def test_mtl_baseline(tmp_path: Path, aff_wild2: Path) -> None:
    config = load_config(MtlBaselineConfig, "mtl_baseline", words(tmp_path, aff_wild2), None)
    assert "val/mtl_score" in mtl_baseline(config)


def test_synthetic(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.synthetic.train, "draw_figures", lambda *arguments: {})
    write_synthetic_faces(tmp_path / "set", train=24, validation=18, test=5, workers=1)
    more = [*words(tmp_path, tmp_path / "set"), f"backbone={tiny_backbone}"]
    assert "val/expression_f1@blend" in synthetic(load_config(SyntheticConfig, "synthetic", more, None))
