"""`make predict` on photographs, with the real detector and a tiny network."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest

from affect.labels import BACKBONE_EXPRESSIONS
from experiments.predict.annotate import jpeg_name
from experiments.predict.config import NetworkConfig, PredictConfig
from experiments.predict.predict import predict
from experiments.predict.recognizer import Recognizer

PORTRAIT = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")


@pytest.fixture
def config(tiny_backbone: Path, tmp_path: Path) -> PredictConfig:
    return PredictConfig(
        str(PORTRAIT),
        str(tiny_backbone),
        output_dir=str(tmp_path / "runs"),
        progress_bar=False,
        network=NetworkConfig("cpu", "torch"),
    )


def test_a_photograph_has_a_row_per_face_and_a_picture(config: PredictConfig) -> None:
    folder = predict(config)
    table = pd.read_csv(folder / "faces.csv")
    assert table["file"].tolist() == ["grace_hopper.jpg"]
    row = table.iloc[0]
    assert (row["frame"], row["person"]) == (0, 1)
    assert np.isnan(row["seconds"])
    probabilities = row[[f"p_{name}" for name in BACKBONE_EXPRESSIONS]].astype(float)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert row["expression"] == probabilities.idxmax().removeprefix("p_")
    pd.testing.assert_frame_equal(table, pd.read_parquet(folder / "faces.parquet"), check_dtype=False)
    drawn = cv2.imread(str(folder / "annotated" / "grace_hopper.jpg")).astype(int)
    changed = np.abs(drawn - cv2.imread(str(PORTRAIT))).max(2) > 60
    left, top, width = row[["left", "top", "width"]].astype(int)
    assert changed[top, left : left + width].mean() > 0.9
    assert not changed[:top].any()
    assert not (folder / "parts").exists()


def test_from_python_the_same_in_three_lines(config: PredictConfig, tiny_backbone: Path) -> None:
    recognizer = Recognizer.load(str(tiny_backbone), device="cpu")
    (face,) = recognizer(PORTRAIT)
    (same,) = recognizer(cv2.imread(str(PORTRAIT), cv2.IMREAD_COLOR_RGB))
    assert face == same
    row = pd.read_csv(predict(config) / "faces.csv").iloc[0]
    assert face.box == tuple(row[["left", "top", "width", "height"]])
    assert face.expression == row["expression"]
    assert face.valence == pytest.approx(row["valence"], abs=1e-5)
    assert face.action_units == {}


def test_no_two_pictures_have_one_name() -> None:
    names = ["a.jpg", "a.png", "a.png.jpg", "a.png.jpg.jpg", "b/a.jpg", "a.JPG", "a.b.jpg"]
    assert len({jpeg_name(name) for name in names}) == len(names)
    assert jpeg_name("b/a.jpg") == "b/a.jpg"
