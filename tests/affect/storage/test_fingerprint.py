import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from affect.storage.fingerprint import (
    arrays_digest,
    content_digest,
    file_digest,
    frame_states_digest,
    git_digest,
    sizes_digest,
    source_states,
    states_digest,
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_files_digest_is_the_sha256_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "a") == sha256(b"abc" * 100_000)
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "b")


def test_gits_digest_of_a_file_is_what_git_gives(tmp_path: Path) -> None:
    for content, digest in (  # from `git hash-object`
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ):
        (tmp_path / "a").write_bytes(content)
        assert git_digest(tmp_path / "a") == digest


def test_parts_are_joined() -> None:
    assert content_digest(iter([b"ab", b"", b"c"])) == content_digest([b"abc"]) == sha256(b"abc")


def test_tables_are_identified_by_names_types_shapes_and_values() -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    tables = {"val": {"b": values.T, "a": None}, "train": {"a": np.array(["x", "yz"])}}
    text = np.array(["x", "yz"], np.str_)
    expected = b"train a <U2 (2,)" + text.tobytes() + b"val b int32 (3, 2)"
    expected += np.array([[0, 3], [1, 4], [2, 5]], np.int32).tobytes()
    assert arrays_digest(tables) == arrays_digest(dict(reversed(tables.items()))) == sha256(expected)


def test_a_copy_has_the_same_names_and_sizes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "3.jpg").write_bytes(bytes(5))
    (root / "a/1.jpg").write_bytes(bytes(7))
    paths = ["a/1.jpg", "3.jpg", "gone.jpg", "3.jpg"]
    digest = sizes_digest(root, paths)
    assert digest == sha256(b"3.jpg\x005\0a/1.jpg\x007\0gone.jpg\0None\0")
    copy = shutil.copytree(root, tmp_path / "copy")
    os.utime(copy / "3.jpg", (1, 1))
    assert sizes_digest(copy, paths[::-1]) == digest
    (copy / "3.jpg").write_bytes(b"longer than before")
    assert sizes_digest(copy, paths) != digest


def test_states_are_recorded_as_in_existing_manifests_and_stores() -> None:
    assert states_digest([("a/1.jpg", 3, 7), ("b.png", 0, 1)]) == sha256(b"a/1.jpg\x003\x007\0b.png\x000\x001\0")
    frames = [("a/1.jpg", (3, 7)), ("a/2.jpg", None)]
    assert frame_states_digest(frames) == sha256(b"a/1.jpg (3, 7)\na/2.jpg None\n")


def test_the_states_of_sources_follow_every_change(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.csv", tmp_path / "folder"

    def digest(*sources: Path) -> str:
        return states_digest(source_states(sources or (file, folder), tmp_path))

    file.write_text("1")
    folder.mkdir()
    (folder / "x").write_text("1")
    seen = [digest()]
    assert digest() == seen[0]

    file.write_text("12")
    seen.append(digest())
    (folder / "y").write_text("1")
    seen.append(digest())
    (folder / "y").rename(folder / "z")
    seen.append(digest())
    os.utime(folder / "x", ns=(0, 1))
    seen.append(digest())
    folder.rename(folder.with_name("other"))
    assert digest(file, tmp_path / "other") not in seen, "another person"
    folder.with_name("other").rename(folder)
    (folder / "z").unlink()
    seen.append(digest())
    (folder / "._x").write_text("hidden files are not data")
    assert digest() == seen[-1]
    (folder / "link").symlink_to("nowhere")
    seen.append(digest())
    assert digest(file, folder, tmp_path / "empty") not in seen, "a source without files counts by its name"
    assert len(set(seen)) == len(seen)
