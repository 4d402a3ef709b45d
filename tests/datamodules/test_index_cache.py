import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.index_cache import cached_table, fingerprint


def table(value: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame({
        "path": ["a.jpg", "b.jpg"],
        "left": np.array([1, -2], np.int32),
        "valence": np.array([value, np.nan], np.float32),
    })  # fmt: skip


class Reader:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> pd.DataFrame:
        self.calls += 1
        return table(self.calls / 10)


def test_a_table_is_read_once_and_comes_back_the_same(tmp_path: Path):
    reader = Reader()
    first = cached_table(tmp_path / "new", "key", "state", reader)
    second = cached_table(tmp_path / "new", "key", "state", reader)
    assert reader.calls == 1
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(second, table(0.1))


def test_another_state_reads_again_and_replaces(tmp_path: Path):
    reader = Reader()
    for state in ("a", "b", "b", "a"):
        found = cached_table(tmp_path, "key", state, reader)
    assert reader.calls == 3
    assert found["valence"][0] == pytest.approx(0.3)
    assert len(list(tmp_path.iterdir())) == 1


def test_tables_of_other_keys_stay(tmp_path: Path):
    reader = Reader()
    for key in ("a", "b", "a", "b"):
        cached_table(tmp_path, key, "state", reader)
    assert reader.calls == 2


@pytest.mark.parametrize(
    "damage",
    [lambda whole: whole[:-40], lambda whole: whole[:10], lambda whole: b"", lambda whole: b"x" * 500],
)
def test_a_damaged_cache_is_read_again_and_mended(tmp_path: Path, damage, capsys: pytest.CaptureFixture):
    reader = Reader()
    cached_table(tmp_path, "key", "state", reader)
    path = next(tmp_path.iterdir())
    path.write_bytes(damage(path.read_bytes()))
    assert cached_table(tmp_path, "key", "state", reader)["valence"][0] == pytest.approx(0.2)
    assert path.name in capsys.readouterr().out
    cached_table(tmp_path, "key", "state", reader)
    assert reader.calls == 2


def test_a_failed_read_leaves_no_cache(tmp_path: Path):
    def fail() -> pd.DataFrame:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached_table(tmp_path, "key", "state", fail)
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_follows_every_change(tmp_path: Path):
    file, folder = tmp_path / "a.csv", tmp_path / "folder"
    file.write_text("1")
    folder.mkdir()
    (folder / "x").write_text("1")
    seen = [fingerprint([file, folder], tmp_path)]
    assert fingerprint([file, folder], tmp_path) == seen[0]

    file.write_text("12")
    seen.append(fingerprint([file, folder], tmp_path))
    (folder / "y").write_text("1")
    seen.append(fingerprint([file, folder], tmp_path))
    (folder / "y").rename(folder / "z")
    seen.append(fingerprint([file, folder], tmp_path))
    os.utime(folder / "x", ns=(0, 1))
    seen.append(fingerprint([file, folder], tmp_path))
    folder.rename(folder.with_name("other"))
    assert fingerprint([file, tmp_path / "other"], tmp_path) not in seen, "another person"
    folder.with_name("other").rename(folder)
    (folder / "z").unlink()
    seen.append(fingerprint([file, folder], tmp_path))
    assert len(set(seen)) == len(seen)
