from pathlib import Path

import numpy as np
import pytest

from experiments.check_data.duplicates import check_copies, find_look_alikes
from experiments.check_data.image_pass import ImageState
from experiments.check_data.listing import Listing, samples_of


def listing(*paths: tuple[str, str, int], **columns: list[str]) -> Listing:
    samples = samples_of("", [path for _, path, _ in paths], expression=[label for *_, label in paths], **columns)
    samples["split"] = [split for split, *_ in paths]
    return Listing("a set", Path("root"), samples, ("Anger", "Fear"))


def test_copies_are_named_with_the_first_of_them() -> None:
    paths = [
        ("train", "a", 0),
        ("train", "b", 0),
        ("train", "c", 1),
        ("train", "d", -1),
        ("val", "e", 1),
        ("val", "f", 0),
    ]
    states = {path: ImageState(1, 1, digest=path if path == "f" else "same") for _, path, _ in paths}
    found = [(*problem[:2], problem.file, problem.detail) for problem in check_copies(listing(*paths), states)]
    assert found == [
        ("note", "the same content under two paths", "b", "like a"),
        ("spoils", "the same content with different expressions", "c", "like a; Anger and Fear"),
        ("note", "the same content under two paths", "d", "like a"),
        ("spoils", "the same content in train and val", "e", "like a; Anger and Fear"),
    ]
    frames = [problem.effect for problem in check_copies(listing(*paths, video=["v"] * 6), states)]
    assert frames == ["note", "note", "note", "spoils"]
    assert list(check_copies(listing(*paths), dict.fromkeys("abcdef", ImageState(1, 1)))) == []


def test_look_alikes_are_found_by_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.check_data.duplicates._BLOCK", 7)
    rng = np.random.default_rng(0)
    train = rng.integers(40, 200, (40, 16, 16))
    val = rng.integers(40, 200, (20, 16, 16))
    val[3] = train[31] + rng.integers(-8, 9, (16, 16))
    val[12] = train[5] // 2 + 60  # of half the contrast, and brighter
    val[13] = train[6]  # of the same content, which is reported elsewhere
    val[14] = 128
    states = {
        f"t{row}": ImageState(1, 1, digest=f"t{row}", thumbnail=each.astype(np.uint8)) for row, each in enumerate(train)
    }
    states |= {
        f"v{row}": ImageState(1, 1, digest=f"v{row}", thumbnail=each.astype(np.uint8)) for row, each in enumerate(val)
    }
    states["v13"] = states["v13"]._replace(digest="t6")
    paths = [*(("train", f"t{row}", 0) for row in range(40)), *(("val", f"v{row}", 0) for row in range(20))]
    pairs = find_look_alikes(listing(*paths), states, 0.98)
    assert {(pair.first, pair.second) for pair in pairs} == {("t31", "v3"), ("t5", "v12")}
    for pair in pairs:
        first, second = (states[path].thumbnail for path in (pair.first, pair.second))
        assert first is not None
        assert second is not None
        assert pair.similarity == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1], abs=1e-5)
