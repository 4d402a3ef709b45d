import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.storage.atomic_write import (
    atomic_path,
    is_temporary,
    write_array,
    write_bytes,
    write_json,
    write_text,
)
from affect.storage.write_errors import StorageError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_the_file_does_not_exist_before_it_is_complete(tmp_path: Path):
    path = tmp_path / "new" / "file.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.suffix == ".png"
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"half"


def test_permissions_follow_the_umask(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_nan_and_infinity_and_keeps_the_old_file(tmp_path: Path, value: float):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": value})
    assert path.read_text() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize("name", ["file", "file.tar.gz", ".hidden", "last.ckpt"])
def test_files_left_by_a_killed_write_are_recognised_by_name(tmp_path: Path, name: str):
    with atomic_path(tmp_path / name) as temporary:
        assert is_temporary(temporary)
        assert [entry.name for entry in tmp_path.iterdir()] == [temporary.name]
    assert not is_temporary(tmp_path / name)


@pytest.mark.parametrize("name", ["a.part", "a.part.txt", ".a.txt", ".partial", ".a.parts"])
def test_other_names_are_not_temporary(name: str):
    assert not is_temporary(Path(name))


def test_arrays_are_written_in_the_npy_format_without_pickles(tmp_path: Path):
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_array(tmp_path / "new" / "a.npy", values)
    found = np.load(tmp_path / "new" / "a.npy", allow_pickle=False)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.float16
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "b.npy", np.array([{}], object))
    assert not (tmp_path / "b.npy").exists()


def test_text_is_written_as_utf_8(tmp_path: Path):
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"


def test_the_error_of_a_failed_write_contains_path_and_size(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    with pytest.raises(StorageError, match=r"folder \(1,000 bytes\) cannot be written"):
        write_bytes(tmp_path / "folder", bytes(1000))
    with pytest.raises(StorageError, match=r"folder cannot be written"), atomic_path(tmp_path / "folder"):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_signal_during_the_creation_of_the_temporary_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = os.open

    def open_and_stop(*arguments: Any, **options: Any) -> int:
        os.close(opened(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", open_and_stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "file.txt", "content")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
