import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.readers.annotation_errors import AnnotationError
from datamodules.split_overlap import (
    refuse_shared_images,
    warn_of_copies,
    warn_of_repeats,
    warn_of_shared_videos,
)


def test_repeated_images_and_contradicting_labels_are_counted_with_examples() -> None:
    names = ["a", "b", "a", "c", "b", "d", "d", "e", "e"]
    labels = np.array([[0, np.nan], [1, 1], [0, np.nan], [1, 1], [1, 2], [0, 0], [0, np.nan], [3, 3], [3, 3]])
    with pytest.warns(UserWarning, match="list") as caught:
        warn_of_repeats("the list", names, labels)
    assert str(caught[0].message) == (
        "the list: 4 images are listed more than once, such as a, b, d; the labels of 2 contradict each other, such as "
        "b, d"
    )
    with pytest.warns(UserWarning, match="1 images are listed more than once, such as a$"):
        warn_of_repeats("the list", ["a", "a"], np.full((2, 1), np.nan))


def test_nothing_shared_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_repeats("the list", ["a", "b"], np.zeros((2, 3)))
        warn_of_repeats("the list", [], np.zeros((0, 3)))
        warn_of_shared_videos("set", {"train": ["a"], "val": ["b"]})
        refuse_shared_images("set", {"train": ["a/1.jpg"], "val": ["a/2.jpg"]})


def test_shared_videos_are_counted() -> None:
    with pytest.warns(UserWarning, match=r"set: 2 videos are in both .* such as a, c; scores"):
        warn_of_shared_videos("set", {"train": ["a", "a", "c", "b"], "val": iter(["c", "a", "a"])})


def test_shared_images_are_refused() -> None:
    with pytest.raises(AnnotationError, match=r"set: 4 images are in both .* such as d, c, b; .*take them out"):
        refuse_shared_images("set", {"train": ["a", "b", "c", "d"], "val": ["d", "c", "d", "b", "a", "e"]})


def files(root: Path, *contents: tuple[str, str, str, str]) -> pd.DataFrame:
    """Write files of (split, label, name, content) and list them."""
    rows = []
    for split, label, name, content in contents:
        path = root / split / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        rows.append((str(path), split, name, label))
    return pd.DataFrame(rows, columns=["path", "split", "key", "label"])


def test_copies_under_the_same_name_in_both_splits_give_a_warning(tmp_path: Path) -> None:
    table = files(
        tmp_path, ("train", "x", "1.jpg", "one"), ("train", "x", "2.jpg", "two"), ("val", "y", "2.jpg", "two")
    )
    with pytest.warns(UserWarning, match=r"1 images .*train/x/2\.jpg and .*val/y/2\.jpg; validation"):
        warn_of_copies("set", table)


def test_a_copy_in_two_classes_gives_a_warning(tmp_path: Path) -> None:
    table = files(tmp_path, ("train", "x", "1.jpg", "one"), ("train", "y", "1.jpg", "one"))
    with pytest.warns(UserWarning, match=r"1 images have more than one label: .*x/1\.jpg and .*y/1\.jpg"):
        warn_of_copies("set", table)


def test_other_content_of_the_same_name_and_size_and_absent_files_are_no_copies(tmp_path: Path) -> None:
    table = files(
        tmp_path, ("train", "x", "1.jpg", "one"), ("val", "x", "1.jpg", "two"), ("train", "x", "2.jpg", "a"),
        ("val", "x", "2.jpg", "a"),
    )  # fmt: skip
    (tmp_path / "val" / "x" / "2.jpg").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_copies("set", table)
