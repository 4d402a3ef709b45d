"""Overlap against counted pixels, and crops against their definition."""

import numpy as np
import pytest

from affect.faces.boxes import crop_boxes, overlap


def test_overlap_is_that_of_counted_pixels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 20, (12, 2))
    boxes = np.hstack([low, low + rng.integers(0, 15, (12, 2))]).astype(np.float32)
    masks = np.zeros((12, 40, 40), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    for row, mask in enumerate(masks):
        for column, other in enumerate(masks):
            union = (mask | other).sum()
            expected = (mask & other).sum() / union if union else 0
            assert overlap(boxes[[row]], boxes[[column]]).item() == pytest.approx(expected)


def test_crops_are_square_about_the_same_centre() -> None:
    boxes = np.array([[10, 20, 30, 60], [-5, 0, 5, 4]], np.float32)
    assert crop_boxes(boxes).tolist() == [[0, 20, 40, 40], [-5, -3, 10, 10]]
    assert crop_boxes(boxes, square=False).tolist() == [[10, 20, 20, 40], [-5, 0, 10, 4]]
    assert crop_boxes(boxes, margin=0.25, square=False).tolist() == [[5, 10, 30, 60], [-8, -1, 15, 6]]


def test_a_crop_has_at_least_one_pixel() -> None:
    assert crop_boxes(np.array([[3, 3, 3.2, 3.2]], np.float32))[0, 2:].tolist() == [1, 1]
