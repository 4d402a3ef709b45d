import errno
from collections import namedtuple
from pathlib import Path

import pytest

from affect.storage.write_errors import StorageError, storage_errors


def test_a_full_disk_becomes_a_message_with_a_remedy(tmp_path: Path) -> None:
    reason = r"store cannot be written: No space left.*free some space"
    with pytest.raises(StorageError, match=reason), storage_errors(tmp_path / "store"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_message_contains_the_size_and_the_free_space_of_the_nearest_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked: list[Path] = []
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: asked.append(folder) or usage(9999, 8888, 1111))
    path = tmp_path / "not" / "there" / "store"
    with pytest.raises(StorageError) as caught, storage_errors(path, 1234567):
        raise OSError(number, "Full")
    assert asked == [tmp_path]
    message = f"{path} (1,234,567 bytes) cannot be written: Full; 1,111 bytes are free there."
    assert str(caught.value).startswith(message)
    assert "; free some space and run the same command again" in str(caught.value)


def test_the_message_for_another_cause_does_not_mention_space(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path / "store"):
        raise OSError(errno.EACCES, "Permission denied")
    assert str(caught.value).startswith(f"{tmp_path / 'store'} cannot be written: Permission denied.")
    assert "; fix the cause and run the same command again" in str(caught.value)
    assert "free" not in str(caught.value)
    with pytest.raises(StorageError, match="cannot be written: no number"), storage_errors("store"):
        raise OSError("no number")


def test_other_errors_are_passed_on() -> None:
    with pytest.raises(ValueError, match="mistake"), storage_errors("store"):
        raise ValueError("mistake")
