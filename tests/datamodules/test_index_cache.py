import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.storage.fingerprint import source_states, states_digest
from datamodules.index_cache import cached_table


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


def test_a_cached_table_equals_the_one_read_first(tmp_path: Path):
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


class ReadAnew(Exception):
    pass


def read_anew() -> pd.DataFrame:
    raise ReadAnew


def test_no_flipped_byte_changes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture):
    cached_table(tmp_path, "key", "state", table)
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ReadAnew):
            cached_table(tmp_path, "key", "state", read_anew)
    assert capsys.readouterr().out.count("damaged") == len(whole)
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(cached_table(tmp_path, "key", "state", read_anew), table())


def test_a_sound_table_of_another_format_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture):
    cached_table(tmp_path, "key", "state", table)
    path = next(tmp_path.iterdir())
    path.write_bytes(hashlib.sha256(b"no parquet").digest() + b"no parquet")
    pd.testing.assert_frame_equal(cached_table(tmp_path, "key", "state", table), table())
    assert "reading the annotations again" in capsys.readouterr().out


def block_folder(folder: Path) -> None:
    folder.write_text("a file where the folder should be")


def block_file(folder: Path) -> None:
    folder.mkdir()
    cached_table(folder, "key", "other", table)
    path = next(folder.iterdir())
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("block", [block_folder, block_file])
def test_a_cache_that_cannot_be_kept_ends_no_run(tmp_path: Path, block: Callable[[Path], None]):
    block(tmp_path / "cache")
    with pytest.warns(UserWarning, match="read anew by every run.*cannot be written"):
        found = cached_table(tmp_path / "cache", "key", "state", table)
    pd.testing.assert_frame_equal(found, table())


def test_a_full_disk_under_the_cache_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.warns(UserWarning, match=r"No space left on device; [\d,]+ bytes are free"):
        pd.testing.assert_frame_equal(cached_table(tmp_path, "key", "state", table), table())
    assert not list(tmp_path.iterdir())


def test_another_set_moved_to_the_same_place_is_read(tmp_path: Path):
    reader = Reader()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(name)
        os.utime(tmp_path / name / "a.csv", ns=(0, len(name) + ord(name[0])))
    for name in ("one", "two"):
        moved = (tmp_path / name).rename(tmp_path / "set")
        state = states_digest(source_states([moved / "a.csv"], moved))
        cached_table(tmp_path / "cache", str(moved), state, reader)
        moved.rename(tmp_path / f"{name} again")
    assert reader.calls == 2


@pytest.mark.timeout(20)
def test_a_named_pipe_in_the_cache_is_replaced(tmp_path: Path):
    cached_table(tmp_path, "key", "state", table)
    path = next(tmp_path.iterdir())
    path.unlink()
    os.mkfifo(path)
    pd.testing.assert_frame_equal(cached_table(tmp_path, "key", "state", table), table())
    assert path.is_file()


def test_many_may_read_and_write_at_once(tmp_path: Path, capsys: pytest.CaptureFixture):
    def work(number: int) -> pd.DataFrame:
        return cached_table(tmp_path, "key", f"state {number % 2}", lambda: table(number % 2))

    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(work, range(24))):
            pd.testing.assert_frame_equal(found, table(number % 2))
    assert len(list(tmp_path.iterdir())) == 1
    assert "damaged" not in capsys.readouterr().out


def test_a_failed_read_leaves_no_cache(tmp_path: Path):
    def fail() -> pd.DataFrame:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached_table(tmp_path, "key", "state", fail)
    assert not list(tmp_path.iterdir())


def test_a_table_of_an_older_version_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cached_table(tmp_path, "key", "state", table)
    monkeypatch.setattr("datamodules.index_cache._VERSION", 0)
    with pytest.raises(ReadAnew):
        cached_table(tmp_path, "key", "state", read_anew)
