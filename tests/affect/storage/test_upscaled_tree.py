import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from affect.storage.upscaled_tree import MANIFEST, StaleTreeError, UpscaledTree, read_manifest
from affect.storage.write_errors import StorageError

NAMES = ("a/1.jpg", "a/2.PNG", "b/c/3.jpeg")
PIXELS = "upright, transparency on white, 8 bits, grey kept"


@pytest.fixture
def picture() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8), (40, 48))


def tree_in(folder: Path, names=NAMES, **settings) -> UpscaledTree:
    return UpscaledTree(folder, {"outscale": 2.0, **settings}, "source-digest", names)


def test_images_keep_their_names_formats_and_colours(tmp_path, picture):
    tree = tree_in(tmp_path / "out")
    tree.open()
    for name in NAMES:
        assert not tree.is_finished(name)
        tree.write(name, picture)
        assert tree.is_finished(name)
    assert np.array_equal(cv2.imread(str(tree.root / "a/2.PNG"), cv2.IMREAD_COLOR_RGB), picture)
    jpeg = cv2.imread(str(tree.root / "b/c/3.jpeg"), cv2.IMREAD_COLOR_RGB)
    assert np.abs(jpeg.astype(int) - picture).mean() < 6
    expected = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert (tree.root / "a/1.jpg").read_bytes() == expected


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.jfif", b"\xff\xd8\xff"), ("x.JPE", b"\xff\xd8\xff"),
        *((f"x.{suffix}", b"\x89PNG") for suffix in ("bmp", "gif", "TIF", "tiff", "webp", "jp2", "avif", "pgm")),
    ],
)  # fmt: skip
def test_images_of_other_formats_keep_their_names_and_become_jpeg_or_png(tmp_path, picture, name, start):
    tree = tree_in(tmp_path / "out", names=(name, "x.png", "x.jpg"))
    tree.open()
    assert not tree.is_finished(name)
    tree.write(name, picture)
    assert tree.is_finished(name)
    content = (tree.root / name).read_bytes()
    assert content.startswith(start)
    if start == b"\x89PNG":
        assert np.array_equal(np.asarray(Image.open(tree.root / name)), picture)
    (tree.root / name).write_bytes(content[:-1])
    assert not tree.is_finished(name)


def test_a_side_too_long_for_jpeg_is_an_error_that_names_the_file(tmp_path):
    tree = tree_in(tmp_path / "out")
    tree.open()
    with pytest.raises(StorageError, match=r"a/1.jpg would have 70000 x 1 pixels, .* is 65,500; leave"):
        tree.write("a/1.jpg", np.zeros((1, 70_000, 3), np.uint8))


def test_a_rebuild_keeps_a_folder_with_an_image_suffix(tmp_path, picture):
    tree = tree_in(tmp_path / "out", names=("album.jpg/1.jpg",))
    tree.open()
    tree.write("album.jpg/1.jpg", picture)
    tree_in(tmp_path / "out", names=("album.jpg/1.jpg",), other=1).open(rebuild=True)
    assert not tree.is_finished("album.jpg/1.jpg")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_truncated_images_are_unfinished(tmp_path, picture, name, kept):
    tree = tree_in(tmp_path / "out")
    tree.open()
    tree.write(name, picture)
    content = (tree.root / name).read_bytes()
    (tree.root / name).write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    assert not tree.is_finished(name)


def test_the_manifest_describes_the_tree_and_whether_it_is_complete(tmp_path, picture):
    tree = tree_in(tmp_path / "out")
    tree.open()
    assert read_manifest(tree.root)["complete"] is False
    for name in NAMES[:2]:
        tree.write(name, picture)
    with pytest.raises(StorageError, match=r"1 images are missing .*b/c/3.jpeg"):
        tree.finish([])
    tree.finish([(NAMES[2], "empty")])
    manifest = json.loads((tree.root / MANIFEST).read_text())
    assert manifest["complete"] is True
    assert manifest["unreadable"] == [{"name": NAMES[2], "reason": "empty"}]
    assert manifest["source"] == {"digest": "source-digest", "images": 3}
    assert manifest["settings"] == {"outscale": 2.0, "jpeg_quality": 95, "pixels": PIXELS}
    assert manifest["reduced_to_8_bits"] == []
    tree.finish([(NAMES[2], "empty")], [NAMES[1]])
    assert tree.known_reduced() == [NAMES[1]]
    assert tree.known_unreadable() == {NAMES[2]: "empty"}
    assert tree.is_complete()


def test_unreadable_images_stay_listed_once_until_they_can_be_read(tmp_path, picture):
    tree = tree_in(tmp_path / "out")
    tree.open()
    tree.write(NAMES[0], picture)
    left_out = [(NAMES[1], "empty"), (NAMES[2], "empty"), ("link", "dead")]
    tree.finish([*left_out, left_out[1]])
    first = (tree.root / MANIFEST).read_bytes()
    assert [entry["name"] for entry in json.loads(first)["unreadable"]] == [NAMES[1], NAMES[2], "link"]
    tree.finish([])  # a pass that repaired an image and skipped the batch of those
    assert (tree.root / MANIFEST).read_bytes() == first
    tree.write(NAMES[2], picture)
    tree.finish([])
    assert tree.known_unreadable() == {NAMES[1]: "empty", "link": "dead"}


def test_another_tree_in_the_folder_is_not_taken_for_this_one(tmp_path, picture):
    """A process that looks before another one has rebuilt the folder must not take the old images for finished."""
    old = tree_in(tmp_path / "out")
    old.open()
    for name in NAMES[:2]:
        old.write(name, picture)
    old.finish([(NAMES[2], "empty")])
    assert old.is_complete()
    new = tree_in(tmp_path / "out", outscale=4.0)
    assert not new.is_complete()
    assert new.known_unreadable() == {}
    with pytest.raises(StaleTreeError):
        new.check()
    new.check(rebuild=True)
    assert old.is_complete(), "looking changes nothing"
    (old.root / NAMES[0]).write_bytes(b"half")
    assert not old.is_complete()


def test_resuming_keeps_images_and_removes_temporary_files(tmp_path, picture):
    tree = tree_in(tmp_path / "out")
    tree.open()
    tree.write(NAMES[0], picture)
    (tree.root / "a/.2.x1y2.part.PNG").write_bytes(b"half")
    (tree.root / ".manifest.x1y2.part.json").write_bytes(b"{")
    again = tree_in(tmp_path / "out")
    again.open()
    files = sorted(path.relative_to(tree.root).as_posix() for path in tree.root.rglob("*") if path.is_file())
    assert files == ["a/1.jpg", MANIFEST]


def test_another_tree_is_refused_and_rebuilt_on_request(tmp_path, picture):
    tree_in(tmp_path / "out").open()
    tree_in(tmp_path / "out").write(NAMES[0], picture)
    other = tree_in(tmp_path / "out", outscale=4.0)
    with pytest.raises(StaleTreeError, match=r"settings outscale was 2.0, now 4.0.*rebuild=true"):
        other.open()
    newer = UpscaledTree(tmp_path / "out", {"outscale": 2.0}, "changed", NAMES)
    with pytest.raises(StaleTreeError, match="source digest was 'source-digest', now 'changed'"):
        newer.open()
    assert newer.is_finished(NAMES[0])
    newer.open(rebuild=True)
    assert not newer.is_finished(NAMES[0])
    assert read_manifest(newer.root)["source"]["digest"] == "changed"


def test_a_rebuild_continues_after_a_kill_during_the_removal(tmp_path, picture, monkeypatch):
    tree_in(tmp_path / "out").open()
    tree_in(tmp_path / "out").write(NAMES[0], picture)
    other = tree_in(tmp_path / "out", outscale=4.0)

    def die(self: UpscaledTree, partial_only: bool) -> None:
        if not partial_only:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(UpscaledTree, "_remove_files", die)
        with pytest.raises(KeyboardInterrupt):
            other.open(rebuild=True)
    for tree in (tree_in(tmp_path / "out"), other):
        assert not tree.is_complete()
        with pytest.raises(StaleTreeError, match="was made with other settings"):
            tree.open()
    other.open(rebuild=True)
    assert not other.is_finished(NAMES[0])


def test_a_tree_killed_at_its_beginning_is_begun_again(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".manifest.x1y2.part.json").write_bytes(b"{")
    tree_in(tmp_path / "out").open()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MANIFEST]


def test_folders_with_other_files_are_refused(tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"mine")
    for rebuild in (False, True):
        with pytest.raises(StaleTreeError, match="is not empty and has no manifest"):
            tree_in(folder).open(rebuild)
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(StaleTreeError, match="it has the format None, not 'upscaled-tree-1'"):
        tree_in(folder).open(rebuild=True)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(StaleTreeError, match="it is not JSON"):
        tree_in(folder).open(rebuild=True)
    assert (folder / "photo.jpg").read_bytes() == b"mine"


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path, picture, monkeypatch):
    tree = tree_in(tmp_path / "out")
    tree.open()
    tree.write(NAMES[0], picture)
    write = Path.write_bytes

    def fill_up(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(
        StorageError, match=r"3.jpeg .* bytes. cannot be written: No space left.*free some space and run"
    ):
        tree.write(NAMES[2], picture)
    monkeypatch.undo()
    assert tree.is_finished(NAMES[0])
    assert list((tree.root / "b/c").iterdir()) == []


def test_a_manifest_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"manifest.json.* cannot be written: (File exists|Not a directory)"):
        tree_in(tmp_path / "file").open()
    begun = tree_in(tmp_path / "begun", names=())
    begun.open()

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    for step in (tree_in(tmp_path / "new").open, lambda: begun.finish([])):
        with pytest.raises(StorageError, match=r"manifest.json.* cannot be written: No space .*free some space"):
            step()
    assert list((tmp_path / "new").iterdir()) == []
    assert not begun.is_complete()


def test_names_that_leave_the_root_are_refused(tmp_path, picture):
    tree = tree_in(tmp_path / "out")
    tree.open()
    (tmp_path / "elsewhere").mkdir()
    (tree.root / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("../x.jpg", "a/../../x.jpg", "link/x.jpg", str(tmp_path / "elsewhere" / "x.jpg")):
        with pytest.raises(ValueError, match="leaves the folder"):
            tree.write(name, picture)
    with pytest.raises(ValueError, match="has none of the suffixes"):
        tree.write("a/x.exe", picture)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_empty_folder_differs_in_nothing_and_lists_no_reduced_image(tmp_path):
    tree = tree_in(tmp_path / "out")
    assert tree.differences() == []
    assert tree.known_reduced() == []
    tree.open()  # its manifest has no list yet
    assert tree.known_reduced() == []


def test_a_side_at_the_limit_of_jpeg_is_written(tmp_path):
    tree = tree_in(tmp_path / "out", names=("a.jpg",))
    tree.open()
    tree.write("a.jpg", np.zeros((1, 65_500, 3), np.uint8))
    assert tree.is_finished("a.jpg")


@pytest.mark.parametrize("linked", ["a", "b", "b/c"])
def test_a_folder_of_the_tree_that_is_a_link_is_refused(tmp_path, linked):
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    tree_in(root).open()
    (root / linked).parent.mkdir(parents=True, exist_ok=True)
    (root / linked).symlink_to(elsewhere)
    with pytest.raises(StaleTreeError, match=rf"out/{linked}\S* is a link to {elsewhere}"):
        tree_in(root).open()
