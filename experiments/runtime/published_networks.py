"""Published networks as commands use them: fetched with a progress bar, with advice where they cannot be had."""

import difflib
import re
from pathlib import Path

from affect.networks.backbone import resolve_architecture
from affect.networks.published import PUBLISHED
from affect.networks.published_files import address, fetch_published, published_backbone
from affect.storage.download import DownloadError
from experiments.runtime.config.options import ConfigError
from experiments.runtime.reports.transfer_progress import TransferProgress


def fetch(name: str) -> Path:
    """Return the path of a published file, fetching it with a progress bar if the cache lacks it.

    Raises:
        DownloadError: If the file is missing and cannot be fetched.
        InvalidFileError: If the file has another digest than the published one.
    """
    network = PUBLISHED[name]
    with TransferProgress(name, address(network)) as on_progress:
        return fetch_published(network, on_progress)


def import_published(name: str, key: str) -> Path:
    """Return the path of a published network's backbone file, fetching and importing it if the cache lacks it.

    Args:
        name: Its published name.
        key: The option that names it, for messages.

    Raises:
        ConfigError: If it has no outputs.
        DownloadError: If the file cannot be fetched; the message says which options need no network.
        InvalidFileError: If the file has another digest than the published one, or holds another network.
    """
    network = PUBLISHED[name]
    if not network.outputs:
        raise ConfigError(
            f"{key}={name} has features of face identities and no outputs; stage 1 starts from it: "
            f"`make pretrain WEIGHTS={name}`"
        )
    try:
        with TransferProgress(name, address(network)) as on_progress:
            return published_backbone(network, on_progress)
    except DownloadError as error:
        raise DownloadError(
            f"{key}={name}: {error}. Without a network, {key}= takes the backbone file or the run folder of a run of "
            "stage 1 (`make pretrain`), or what `make import` makes of a network's file"
        ) from error


def resolve_weights(wanted: str, architecture: str, key: str) -> str:
    """Return the path of the weights file that an option names; a published one is fetched if the cache lacks it.

    Args:
        wanted: A published name; anything else is returned as it is.
        architecture: The encoder that the weights are for.
        key: The option, for messages.

    Raises:
        ConfigError: If the published weights are of another architecture, or `wanted` is a word but no published name.
        DownloadError: If the file cannot be fetched; the message says which options need no network.
        InvalidFileError: If the file has another digest than the published one.
    """
    if wanted not in PUBLISHED:
        if wanted not in ("none", "hub"):
            check_word(key, wanted)
        return wanted
    network = PUBLISHED[wanted]
    if _family(network.architecture) != _family(architecture):
        raise ConfigError(f"{key}={wanted} has the weights of {network.architecture}, not of {architecture}")
    try:
        return str(fetch(wanted))
    except DownloadError as error:
        raise DownloadError(
            f"{key}={wanted}: {error}. Without a network, {key}= takes a weights file, "
            "packaged:efficientnet-lite0 (of tf_efficientnet_lite0), demo_data/face_weights.safetensors (learnt from "
            "drawn faces), or none (random weights)"
        ) from error


def check_word(key: str, wanted: str) -> None:
    """Raise a ConfigError if an option names neither a file nor a folder, and looks like a name that does not exist."""
    if re.fullmatch(r"[\w-]+", wanted) and not Path(wanted).exists():
        near = ", ".join(difflib.get_close_matches(wanted, PUBLISHED, n=3)) or ", ".join(PUBLISHED)
        raise ConfigError(
            f"{key}={wanted}: there is no such file or folder, and no published network of that name; the nearest "
            f"names are {near} (`make models` lists all)"
        )


def _family(architecture: str) -> str:
    return resolve_architecture(architecture).partition(".")[0]
