"""Files of published networks: fetched once, checked against their digests, and kept in a cache of the user."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from affect.errors import InvalidOptionError
from affect.networks.backbone_file import save_backbone
from affect.networks.import_network import Outputs, import_network
from affect.networks.published import LICENCE, REPOSITORY, PublishedNetwork
from affect.storage.atomic_write import write_text
from affect.storage.download import OnProgress, fetch_once
from affect.storage.fingerprint import file_digest, git_digest
from affect.storage.locks import exclusive_lock

CACHE_VARIABLE: Final = "MT_EMOTIEFFNET_CACHE"
"""Environment variable with the folder of the cache, if it is not the user's."""

MIRROR_VARIABLE: Final = "MT_EMOTIEFFNET_MIRROR"
"""Environment variable with an address that takes the place of `REPOSITORY`; the digests stay the same."""

_MAX_BYTES: Final = 256 << 20
"""The largest known file has 30 MB; sizes are not published for all."""


def cache_folder() -> Path:
    """Return the folder of everything that is fetched: that of the environment, or the user's cache folder."""
    import pooch  # here, since importing it takes longer than most commands need for their options

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("mt-emotieffnet")).expanduser().absolute()


def published_path(network: PublishedNetwork) -> Path:
    """Return where the file of a network is kept; one that is put there by hand is used if its digest is right."""
    return cache_folder() / "published" / network.file_name


def address(network: PublishedNetwork) -> str:
    """Return the address of a network's file.

    Raises:
        InvalidOptionError: If the mirror that the environment names is no address of a web server.
    """
    mirror = os.environ.get(MIRROR_VARIABLE) or REPOSITORY
    if not mirror.startswith(("https://", "http://")):
        raise InvalidOptionError(f"{MIRROR_VARIABLE}={mirror} must begin with https:// or http://")
    return f"{mirror.rstrip('/')}/{network.path}"


def fetch_published(network: PublishedNetwork, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Return the path of a network's file, whose digest has been checked; it is fetched if the cache lacks it.

    Args:
        network: The network.
        on_progress: Told how far the transfer is, if there is one.

    Raises:
        DownloadError: If the file is missing and cannot be fetched; the message names it, its address and its place.
        InvalidFileError: If the file has another digest.
        InvalidOptionError: If the environment names no usable mirror.
        StorageError: If the file cannot be written.
    """
    path = published_path(network)
    fetch_once(address(network), path, git_digest, network.git_digest, _MAX_BYTES, on_progress)
    return path


def published_backbone(network: PublishedNetwork, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Return the path of a network's backbone file, made from the published file if the cache lacks it.

    The cache keeps it under the published file's digest, with its own digest beside it; a damaged one is made again.
    The same network gives the same bytes on every machine.

    Args:
        network: A network with outputs.
        on_progress: Told how far the transfer is, if there is one.

    Raises:
        DownloadError: If the published file is missing and cannot be fetched.
        InvalidFileError: If it has another digest, or holds another network than the table says.
        InvalidOptionError: If the environment names no usable mirror.
        StorageError: If a file cannot be written.
    """
    path = cache_folder() / "imported" / f"{Path(network.path).stem}-{network.git_digest[:12]}" / "backbone.safetensors"
    digest = path.with_suffix(".sha256")
    if _is_intact(path, digest):  # before the lock: the folder may be read-only
        return path
    with exclusive_lock(path.with_name(".backbone.lock")):
        if not _is_intact(path, digest):
            source = fetch_published(network, on_progress)
            mean, std = network.statistics
            outputs = Outputs(network.expressions, network.outputs)
            backbone, spec = import_network(source, network.architecture, outputs, network.image_size, mean, std)
            notes = {**spec.notes, "published_at": f"{REPOSITORY}/{network.path}", "licence": LICENCE}
            save_backbone(path, backbone, replace(spec, notes=notes))
            write_text(digest, file_digest(path))
    return path


def _is_intact(path: Path, digest: Path) -> bool:
    return path.is_file() and digest.is_file() and digest.read_text() == file_digest(path)
