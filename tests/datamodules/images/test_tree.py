import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import MissingFileError
from datamodules.images import tree as image_tree
from datamodules.images.dataset import UnreadableImageError
from datamodules.images.tree import ImageBatches, ImageTreeDataModule, deep_images, scan_images


def write(path: Path, height: int = 8, width: int = 6, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), (level, level // 2, 0), np.uint8)  # BGR
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "images"
    for number in range(5):
        write(root / "ANGRER" / f"{number}.jpg", level=40 * number + 20)
    write(root / "SAD" / "deep" / "wide.png", width=9)
    write(root / "top.JPEG")
    (root / "notes.txt").write_text("not an image")
    (root / ".hidden.jpg").write_bytes(b"x")
    return root


def test_images_are_found_at_any_depth_and_sorted(root):
    tree = scan_images(root)
    assert tree.names == (*(f"ANGRER/{number}.jpg" for number in range(5)), "SAD/deep/wide.png", "top.JPEG")
    assert tree.rejected == ()
    assert tree.ignored == ("notes.txt",)


def test_system_files_are_no_data_and_a_folder_named_like_an_image_is_a_folder(root):
    write(root / "album.jpg" / "1.bmp")
    for name in ("._top.jpg", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/1.jpg", "__MACOSX/1.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    tree = scan_images(root)
    assert len(tree.names) == 8
    assert "album.jpg/1.bmp" in tree.names
    assert tree.rejected == ()
    assert tree.ignored == ("notes.txt",)


def test_images_of_over_8_bits_are_named(root):
    deep = np.full((8, 6), 40_000, np.uint16)
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        assert cv2.imwrite(str(root / name), deep)
    assert cv2.imwrite(str(root / "colour.png"), np.dstack([deep] * 3))
    assert cv2.imwrite(str(root / "colour.ppm"), np.dstack([deep] * 3))
    write(root / "plain.tif")
    write(root / "plain.ppm")
    (root / "broken.png").write_bytes(b"")
    assert deep_images(scan_images(root)) == [
        "colour.png",
        "colour.ppm",
        "deep.pgm",
        "deep.png",
        "deep.tif",
    ]


def test_the_digest_notices_every_change(root):
    digests = {scan_images(root).digest}
    assert scan_images(root).digest in digests
    status = (root / "top.JPEG").stat()
    os.utime(root / "top.JPEG", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    digests.add(scan_images(root).digest)
    (root / "top.JPEG").rename(root / "other.JPEG")
    digests.add(scan_images(root).digest)
    (root / "other.JPEG").unlink()
    digests.add(scan_images(root).digest)
    assert len(digests) == 4


def test_links_are_followed_but_not_in_circles(root, tmp_path):
    write(tmp_path / "elsewhere" / "HAPPY" / "1.jpg")
    (tmp_path / "elsewhere" / "HAPPY" / "back").symlink_to(root)
    (root / "HAPPY").symlink_to(tmp_path / "elsewhere" / "HAPPY")
    (root / "out.jpg").symlink_to(tmp_path / "elsewhere" / "HAPPY" / "1.jpg")
    (root / "inside.jpg").symlink_to("top.JPEG")
    (root / "SAD" / "up").symlink_to(root)
    (root / "dead.jpg").symlink_to(root / "absent.jpg")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    tree = scan_images(root)
    assert len(tree.names) == 10
    assert {"HAPPY/1.jpg", "out.jpg", "inside.jpg"} <= set(tree.names)
    circle = "a link back to a folder above it"
    assert dict(tree.rejected) == {
        "HAPPY/back": circle,
        "SAD/up": circle,
        "dead.jpg": "No such file or directory",
        "self.jpg": "Too many levels of symbolic links",
    }


def test_folders_that_link_to_each_other_end(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        write(tmp_path / one / "1.jpg")
        (tmp_path / one / "next").symlink_to(tmp_path / other)
    assert scan_images(tmp_path).names == ("a/1.jpg", "a/next/1.jpg", "b/1.jpg", "b/next/1.jpg")


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "pipe.jpg")
    tree = scan_images(root)
    assert "pipe.jpg" not in tree.names
    assert tree.rejected == (("pipe.jpg", "not a regular file"),)


def test_a_folder_that_cannot_be_listed_is_an_error(root, monkeypatch):
    def refuse(path: Path):
        if path.name == "deep":  # by hand: root may read everything
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    original = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UnreadableImageError, match=r"SAD/deep cannot be listed: Permission denied; allow"):
        scan_images(root)


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match="no folder"):
        scan_images(tmp_path / "absent")
    with pytest.raises(MissingFileError, match=r"no images in .*looked for .avif, .bmp"):
        scan_images(tmp_path)


def test_a_batch_groups_equal_sizes_and_lists_what_cannot_be_read(root):
    (root / "ANGRER" / "1.jpg").write_bytes((root / "ANGRER" / "1.jpg").read_bytes()[:200])
    (root / "ANGRER" / "2.jpg").write_bytes(b"")
    batch = ImageBatches(scan_images(root), 7)[0]
    by_names = {tuple(group["name"]): group["image"] for group in batch["groups"]}
    assert {names: tuple(image.shape) for names, image in by_names.items()} == {
        ("ANGRER/0.jpg", "ANGRER/3.jpg", "ANGRER/4.jpg", "top.JPEG"): (4, 3, 8, 6),
        ("SAD/deep/wide.png",): (1, 3, 8, 9),
    }
    wide = by_names["SAD/deep/wide.png",]
    assert wide[0, :, 0, 0].tolist() == [0, 50, 100], "channels are red, green, blue"
    assert [name for name, _ in batch["unreadable"]] == ["ANGRER/1.jpg", "ANGRER/2.jpg"]
    assert not any(str(root) in reason for _, reason in batch["unreadable"])


def test_batches_keep_their_images_when_some_are_finished(root):
    tree = scan_images(root)
    finished = {"ANGRER/0.jpg", "ANGRER/1.jpg", "ANGRER/2.jpg"}
    data = ImageTreeDataModule(tree, batch_size=2, is_finished=finished.__contains__)
    names = [[name for group in batch["groups"] for name in group["name"]] for batch in data.predict_dataloader()]
    assert names == [["ANGRER/2.jpg", "ANGRER/3.jpg"], ["ANGRER/4.jpg", "SAD/deep/wide.png"], ["top.JPEG"]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 9])
def test_processes_share_the_batches(root, monkeypatch, world_size):
    tree = scan_images(root)
    loaded: list[list[str]] = []
    for rank in range(world_size):
        monkeypatch.setattr(image_tree, "process_share", lambda rank=rank: (rank, world_size))
        share = list(ImageTreeDataModule(tree, batch_size=2).predict_dataloader())
        assert share, "a process without a batch would leave the others waiting"
        loaded += [[name for group in batch["groups"] for name in group["name"]] for batch in share]
    whole = [list(tree.names[start : start + 2]) for start in range(0, 7, 2)]
    assert sorted(map(tuple, loaded))[0] == tuple(whole[0])
    assert {tuple(names) for names in loaded} == {tuple(names) for names in whole}
    if world_size <= 4:
        assert len(loaded) == 4, "no batch twice"


def test_workers_give_the_same_batches(root):
    tree = scan_images(root)
    plain, parallel = (
        list(ImageTreeDataModule(tree, 3, num_workers=workers).predict_dataloader()) for workers in (0, 1)
    )
    for first, second in zip(plain, parallel, strict=True):
        for a, b in zip(first["groups"], second["groups"], strict=True):
            assert a["name"] == b["name"]
            assert a["image"].equal(b["image"])
