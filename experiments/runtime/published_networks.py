"""Published networks as commands use them: fetched with a progress bar, with advice where they cannot be had."""

import difflib
import re
from pathlib import Path

from affect.networks.backbone import resolve_architecture
from affect.networks.published import PUBLISHED
from affect.networks.published_files import address, fetch_published
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
            "demo_data/face_weights.safetensors (learnt from drawn faces) or none (random weights)"
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
