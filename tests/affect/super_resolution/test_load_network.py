import hashlib

import pytest
import torch

from affect.errors import InvalidFileError, InvalidOptionError, MissingFileError
from affect.super_resolution import load_network as weights
from affect.super_resolution import releases
from affect.super_resolution.checkpoints import network_digest
from affect.super_resolution.releases import Release, fetch


@pytest.fixture
def release(small_srvgg, tmp_path):
    source = tmp_path / "server" / "compact.pth"
    source.parent.mkdir()
    torch.save({"params": small_srvgg.state_dict()}, source)
    content = source.read_bytes()
    return Release(source.as_uri(), hashlib.sha256(content).hexdigest(), len(content))


def test_a_release_is_fetched_once(release, tmp_path):
    path = fetch(release, tmp_path / "cache")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == release.sha256
    (tmp_path / "server" / "compact.pth").unlink()
    assert fetch(release, tmp_path / "cache") == path


def test_a_download_other_than_the_pinned_file_is_not_kept(release, tmp_path):
    source = tmp_path / "server" / "compact.pth"
    source.write_bytes(source.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidFileError, match="the download was not kept"):
        fetch(release, tmp_path / "cache")
    source.write_bytes(bytes(5 << 20))
    with pytest.raises(InvalidFileError, match="the download was not kept"):
        fetch(release, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_damaged_cache_is_reported(release, tmp_path):
    path = fetch(release, tmp_path / "cache")
    path.write_bytes(b"short")
    with pytest.raises(InvalidFileError, match="remove it to download it again"):
        fetch(release, tmp_path / "cache")


def test_without_a_connection_the_error_contains_the_remedy(release, tmp_path, monkeypatch):
    (tmp_path / "server" / "compact.pth").unlink()
    monkeypatch.setitem(releases.RELEASES, "x2plus", release)
    with pytest.raises(MissingFileError, match=r"compact.pth is missing and .*packaged:x4plus"):
        weights.load_network("x2plus", tmp_path / "cache")


def test_networks_are_found_by_name_and_by_path(release, small_srvgg, anime, tmp_path, monkeypatch):
    monkeypatch.setitem(releases.RELEASES, "general-x4v3", release)
    digest = network_digest(small_srvgg)
    assert network_digest(weights.load_network("general-x4v3", tmp_path / "cache")) == digest
    assert network_digest(weights.load_network(tmp_path / "server" / "compact.pth")) == digest
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
