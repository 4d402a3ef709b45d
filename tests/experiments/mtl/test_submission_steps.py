"""What is done to the test list's predictions before they are written: smoothing, bias, thresholds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from experiments.mtl.config import MtlConfig
from experiments.mtl.submit import MtlSubmitConfig, mtl_submit
from experiments.mtl.train import mtl
from experiments.runtime.config.load import load_config

RAW = {"window": 0, "kernel": "box", "sigma": 1.0, "neighbours": None}
WHOLE_VIDEO = RAW | {"window": 1000}


@pytest.mark.usefixtures("no_figures")
def test_the_submission_is_smoothed_biased_and_decided_by_the_runs_calibrator(
    words: Callable[..., list[str]], tmp_path: Path, aff_wild2: Path
) -> None:
    test_list = aff_wild2 / "MTL_Challenge_test_set_release.txt"
    listed = test_list.read_text().splitlines()
    names = sorted(name for name in {*listed[1:]} if (aff_wild2 / "cropped_aligned" / name).is_file())
    test_list.write_text("\n".join([listed[0], *names]) + "\n")  # no row twice, no image missing
    mtl(load_config(MtlConfig, "mtl", words("trainer.max_epochs=2"), "demo"))
    folder = (tmp_path / "runs" / "mtl" / "latest").resolve()
    written = json.loads((folder / "calibrator.json").read_text())

    def submit(smoothing: dict, bias: dict, thresholds: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        content = {
            "smoothing": dict.fromkeys(written["smoothing"], smoothing),
            "log_bias": dict.fromkeys(AFFWILD2_EXPRESSIONS, 0.0) | bias,
            "thresholds": dict.fromkeys(ACTION_UNITS, 0.5) | thresholds,
        }
        (folder / "calibrator.json").write_text(json.dumps(written | content))
        config = load_config(MtlSubmitConfig, "mtl", [f"run={folder}"], str(folder / "config.yaml"))
        rows = [line.split(",") for line in mtl_submit(config).read_text().splitlines()[1:]]
        assert [row[0] for row in rows] == names
        values = np.array([row[1:] for row in rows], float)
        return values[:, :2], values[:, 2].astype(int), values[:, 3:].astype(int)

    always, never = {"AU1": 0.0, "AU12": 0.0}, {"AU2": 1.0, "AU26": 1.0}
    values, expression, units = submit(RAW, {}, always | never)
    order = ["AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26"]
    assert units[:, [order.index(unit) for unit in always]].all()
    assert not units[:, [order.index(unit) for unit in never]].any()

    smoothed, biased, plain = submit(WHOLE_VIDEO, {"Fear": 50.0}, {})
    video = np.array([name.split("/")[0] for name in names])
    for each in np.unique(video):
        mean = values[video == each].mean(0)
        np.testing.assert_allclose(smoothed[video == each], np.tile(mean, (20, 1)), atol=2e-4)
        assert values[video == each].std(0).min() > 1e-3, "not smooth by itself"
        assert len(np.unique(plain[video == each], axis=0)) == 1
    assert (biased == 3).all(), "code of Fear"
    assert (expression != 3).any()
