"""Published files come from their address or a mirror, checked, into the user's cache."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from affect.errors import InvalidFileError, InvalidOptionError
from affect.networks.published import PUBLISHED, REPOSITORY, PublishedNetwork
from affect.networks.published_files import address, cache_folder, fetch_published, published_path
from affect.storage.download import DownloadError
from tests.file_server import FileServer

CONTENT = b"stand-in for a network"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PublishedNetwork:
    """A published network whose file has other content; the cache is empty."""
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()
    return replace(PUBLISHED["vggface2"], git_digest=digest)


def test_the_cache_is_the_users_or_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MT_EMOTIEFFNET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "user" / "mt-emotieffnet"
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", "~/networks")
    assert cache_folder() == Path.home() / "networks"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", "here")
    assert published_path(PUBLISHED["vggface2"]) == tmp_path / "here/published/state_vggface2_enet0_new.pt"


def test_the_address_is_the_repositorys_or_a_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MT_EMOTIEFFNET_MIRROR")
    network = PUBLISHED["enet_b2_8"]
    assert address(network) == f"{REPOSITORY}/affectnet_emotions/enet_b2_8.pt"
    monkeypatch.setenv("MT_EMOTIEFFNET_MIRROR", "https://mirror.example/models/")
    assert address(network) == "https://mirror.example/models/affectnet_emotions/enet_b2_8.pt"
    monkeypatch.setenv("MT_EMOTIEFFNET_MIRROR", "/mnt/models")
    with pytest.raises(InvalidOptionError, match="MT_EMOTIEFFNET_MIRROR=/mnt/models must begin with https://"):
        address(network)


def test_a_network_is_fetched_once_and_checked(
    network: PublishedNetwork, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MT_EMOTIEFFNET_MIRROR", file_server.url)
    file_server.answers[network.path] = CONTENT
    path = fetch_published(network)
    assert path == published_path(network)
    assert path.read_bytes() == CONTENT
    assert fetch_published(network) == path
    assert file_server.requests == [network.path]
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(InvalidFileError, match=rf"{path} has the digest .* expected {network.git_digest}; remove it"):
        fetch_published(network)
    path.unlink()
    file_server.answers[network.path] = CONTENT + b"!"
    with pytest.raises(InvalidFileError, match="23 bytes that are not the expected file"):
        fetch_published(network)
    assert not path.exists()


def test_without_a_network_the_file_its_address_and_its_place_are_named(network: PublishedNetwork) -> None:
    with pytest.raises(DownloadError) as error:
        fetch_published(network)
    message = str(error.value)
    assert f"{published_path(network)} is missing" in message
    assert f"http://127.0.0.1:9/{network.path} cannot be fetched" in message
    published_path(network).write_bytes(CONTENT)
    assert fetch_published(network) == published_path(network)
