import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from affect.errors import InvalidFileError, InvalidOptionError, MissingFileError
from affect.super_resolution import load_network as weights
from affect.super_resolution import releases
from affect.super_resolution.checkpoints import network_digest
from affect.super_resolution.releases import Release, fetch
from tests.file_server import FileServer


@pytest.fixture
def content(small_srvgg) -> bytes:
    """A small network as a file."""
    file = io.BytesIO()
    torch.save({"params": small_srvgg.state_dict()}, file)
    return file.getvalue()


@pytest.fixture
def release(content: bytes, file_server: FileServer) -> Release:
    file_server.answers["compact.pth"] = content
    return Release(f"{file_server.url}/compact.pth", hashlib.sha256(content).hexdigest(), len(content))


def test_a_release_is_fetched_once(release: Release, file_server: FileServer, tmp_path: Path) -> None:
    path = fetch(release, tmp_path / "cache")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == release.sha256
    assert fetch(release, tmp_path / "cache") == path
    assert file_server.requests == ["compact.pth"]


@pytest.mark.parametrize("change", [lambda content: content[:-1] + b"x", lambda content: bytes(5 << 20)])
def test_a_download_other_than_the_pinned_file_is_not_kept(
    release: Release, file_server: FileServer, content: bytes, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    file_server.answers["compact.pth"] = change(content)
    with pytest.raises(InvalidFileError, match="not the expected file"):
        fetch(release, tmp_path / "cache")
    assert not (tmp_path / "cache" / "compact.pth").exists()


def test_a_damaged_cache_is_reported(release: Release, tmp_path: Path) -> None:
    path = fetch(release, tmp_path / "cache")
    path.write_bytes(b"short")
    with pytest.raises(InvalidFileError, match="remove it to fetch it again"):
        fetch(release, tmp_path / "cache")


def test_without_a_connection_the_error_contains_the_remedy(
    release: Release, file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.answers.clear()
    monkeypatch.setitem(releases.RELEASES, "x2plus", release)
    with pytest.raises(MissingFileError, match=r"compact.pth is missing and .*packaged:x4plus"):
        weights.load_network("x2plus", tmp_path / "cache")


def test_networks_are_found_by_name_and_by_path(
    release: Release, content: bytes, small_srvgg, anime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(releases.RELEASES, "general-x4v3", release)
    (tmp_path / "compact.pth").write_bytes(content)
    digest = network_digest(small_srvgg)
    assert network_digest(weights.load_network("general-x4v3", tmp_path / "cache")) == digest
    assert network_digest(weights.load_network(tmp_path / "compact.pth")) == digest
    assert network_digest(weights.load_network("packaged:animevideov3")) == network_digest(anime)
    with pytest.raises(InvalidOptionError, match="no network 'x4pluss'; choose x4plus"):
        weights.load_network("x4pluss")
    with pytest.raises(MissingFileError, match=r"absent.pth"):
        weights.load_network(tmp_path / "absent.pth")


def test_every_release_is_pinned():
    for release in releases.RELEASES.values():
        assert release.url.startswith("https://github.com/xinntao/Real-ESRGAN/releases/download/v")
        assert len(bytes.fromhex(release.sha256)) == 32
        assert release.num_bytes > 1_000_000
