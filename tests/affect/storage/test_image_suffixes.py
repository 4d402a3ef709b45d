from pathlib import Path

import pytest

from affect.storage.image_suffixes import SUFFIXES, describe_ignored, has_image_suffix, is_hidden, list_images


def test_images_and_other_entries_are_listed_separately(tmp_path: Path):
    for name in ("b.JPG", "a.png", "c.jfif", "d.Tiff", "clip.mp4", "none", "jpg", "list.csv"):
        (tmp_path / name).write_bytes(b"")
    for name in ("album.jpg", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "dead.webp").symlink_to("absent")
    (tmp_path / "link.jpg").symlink_to("more")
    images, others = list_images(tmp_path, known=("list.csv",))
    assert images == ["a.png", "b.JPG", "c.jfif", "d.Tiff", "dead.webp"]
    assert others == ["album.jpg", "clip.mp4", "jpg", "link.jpg", "more", "none"]


@pytest.mark.parametrize(
    "name",
    ["._1.jpg", ".DS_Store", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX", "@eaDir"],
)  # fmt: skip
def test_hidden_entries_are_skipped(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"")
    assert is_hidden(name)
    assert list_images(tmp_path) == ([], [])


def test_suffixes_are_compared_case_insensitively():
    assert all(has_image_suffix(f"x{suffix}") and has_image_suffix(f"x{suffix.upper()}") for suffix in SUFFIXES)
    assert not any(has_image_suffix(name) for name in ("x", "x.npy", "jpg", ".jpg.txt"))


def test_ignored_entries_are_described_by_number_and_examples():
    names = [f"{number}.mp4" for number in range(5)]
    assert "faces: 5 entries are not read" in describe_ignored("faces", names)
    assert describe_ignored("faces", names).endswith(": 0.mp4, 1.mp4, 2.mp4, ...")
    assert describe_ignored("faces", names[:3]).endswith(": 0.mp4, 1.mp4, 2.mp4")
    assert describe_ignored("faces", names[:1]).endswith(": 0.mp4")
