import os
from pathlib import Path

import pytest

from datamodules.images.missing_files import missing_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("a/1.jpg", "a/b/2.jpg", "3.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


PRESENT = ["a/1.jpg", "a/b/2.jpg", "3.jpg"]


def test_a_path_that_is_not_a_file_is_missing_with_its_reason(root: Path) -> None:
    (root / "dead.jpg").symlink_to("gone")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    absent = [
        "dead.jpg",
        "a/9.jpg",
        "none/1.jpg",
        "folder.jpg",
        "pipe.jpg",
        "self.jpg",
        "3.jpg/x.jpg",
        "nul\0.jpg",
    ]
    assert missing_images(root, [*PRESENT, *absent, "a/9.jpg"]) == {
        "dead.jpg": "No such file or directory",
        "a/9.jpg": "No such file or directory",
        "none/1.jpg": "No such file or directory",
        "folder.jpg": "Is a directory",
        "pipe.jpg": "not a regular file",
        "self.jpg": "Too many levels of symbolic links",
        "3.jpg/x.jpg": "Not a directory",
        "nul\0.jpg": "embedded null byte",
    }
    assert missing_images(root, PRESENT) == {}


def test_links_to_files_and_folders_are_followed(root: Path, tmp_path: Path) -> None:
    (root / "link.jpg").symlink_to(root / "3.jpg")
    (root / "c").symlink_to(root / "a", target_is_directory=True)
    (tmp_path / "linked").symlink_to(root, target_is_directory=True)
    assert missing_images(tmp_path / "linked", ["link.jpg", "c/1.jpg", "c/b/2.jpg", "a/../3.jpg"]) == {}


def test_a_folder_that_cannot_be_listed_may_still_give_its_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)  # by hand: root may list everything
    assert missing_images(root, [*PRESENT, "a/9.jpg"]) == {"a/9.jpg": "No such file or directory"}
    monkeypatch.setattr(Path, "stat", refuse)
    assert missing_images(root, ["a/1.jpg"]) == {"a/1.jpg": "Permission denied"}


def test_folders_are_listed_once_and_files_are_not_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (listed.append(folder), scandir(folder))[1])
    monkeypatch.setattr(Path, "stat", lambda *arguments, **options: pytest.fail("a stat"))
    assert missing_images(root, PRESENT * 3) == {}
    assert sorted(listed) == sorted([root, root / "a", root / "a" / "b"])
