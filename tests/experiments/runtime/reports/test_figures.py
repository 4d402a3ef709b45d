from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from experiments.runtime.reports import figures


def test_figures_are_written_as_readable_png(tmp_path: Path):
    figure = figures.confusion_matrix(np.array([0, 1]), np.array([0, 1]), ["Anger", "Fear"], "title")
    path = figures.save_figure(figure, tmp_path / "new" / "a.png")
    image = cv2.imread(str(path))
    assert image.shape[0] > 100
    assert image.std() > 10


def test_the_confusion_matrix_shows_counts_of_labelled_samples():
    target, preds = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 1, 1, 1])
    axes = figures.confusion_matrix(target, preds, ["Anger", "Fear", "Other"], "title").axes[0]
    assert [text.get_text() for text in axes.texts] == ["2", "1", "0", "0", "1", "0", "0", "0", "0"]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]])
    assert axes.get_xlabel() == "predicted"


def test_a_confusion_matrix_of_many_or_oddly_named_classes_can_be_saved(tmp_path: Path):
    many = figures.confusion_matrix(np.arange(500), np.arange(500), [str(name) for name in range(500)], "title")
    assert not many.axes[0].texts
    odd = figures.confusion_matrix(np.array([0, 1]), np.array([0, 1]), ["$\\frac$", "[b]"], "title")
    for figure in (many, odd):
        assert cv2.imread(str(figures.save_figure(figure, tmp_path / "a.png"))).shape[0] < 6000
    assert [label.get_text() for label in odd.axes[0].get_xticklabels()] == ["$\\frac$", "[b]"]


def points(axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_offsets())


def test_the_scatter_leaves_out_missing_labels_by_column():
    target = np.array([[0.1, 0.2], [np.nan, 0.4], [0.5, np.nan]])
    preds = np.array([[0.0, -0.1], [0.2, 0.3], [0.4, 0.5]])
    ccc = {"valence": 0.25, "arousal": 0.75}
    first, second = figures.valence_arousal_scatter(target, preds, ccc).axes
    np.testing.assert_allclose(points(first), [[0.1, 0.0], [0.5, 0.4]])
    np.testing.assert_allclose(points(second), [[0.2, -0.1], [0.4, 0.3]])
    assert "valence" in first.get_title()
    assert "0.250" in first.get_title()
    assert "n = 2" in second.get_title()


@pytest.mark.parametrize(("name", "column"), [("valence", 0), ("arousal", 1)])
def test_a_single_panel_shows_its_own_column(name: str, column: int):
    target = np.full((3, 2), np.nan)
    target[:, column] = [0.1, 0.2, 0.3]
    preds = np.arange(6.0).reshape(3, 2)
    (axes,) = figures.valence_arousal_scatter(target, preds, {name: 0.5}).axes
    np.testing.assert_allclose(points(axes), np.stack([target[:, column], preds[:, column]], 1))


def test_curves_show_the_metrics_that_there_are():
    history = pd.DataFrame({"epoch": [0, 1], "loss": [2.0, 1.0], "f1": [0.1, 0.2]})
    panels = {"loss": ["loss", "absent"], "nothing": ["absent"], "score": ["f1"]}
    axes = figures.training_curves(history, panels).axes
    assert [panel.get_title() for panel in axes] == ["loss", "score"]
    assert len(axes[0].lines) == 1
    assert axes[0].lines[0].get_xdata().tolist() == [1, 2]
    assert axes[0].lines[0].get_ydata().tolist() == [2, 1]


@pytest.mark.parametrize("count", [0, 1, 8, 9])
def test_the_grid_holds_any_number_of_images(count: int, tmp_path: Path):
    images = [np.full((4, 4, 3), number, np.uint8) for number in range(count)]
    figure = figures.image_grid(images, [f"caption {number}" for number in range(count)], "title")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [f"caption {number}" for number in range(count)]
    assert all(np.array_equal(one.get_array(), other) for one, other in zip(axes.images, images, strict=True))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for number, image in enumerate(axes.images):
        first, last, low, high = image.get_extent()
        assert left + 1.7 * (number % 8) < first < last < left + 1.7 * (number % 8 + 1) <= right + 1e-9
        assert top + 2.1 * (number // 8) < high < low <= top + 2.1 * (number // 8 + 1) <= bottom + 1e-9
    figures.save_figure(figure, tmp_path / "grid.png")
