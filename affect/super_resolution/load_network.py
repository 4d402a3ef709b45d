"""Loads a super-resolution network by name (an official release or a packaged one) or from a file."""

from pathlib import Path

from affect.errors import InvalidOptionError, MissingFileError
from affect.storage.packaged_file import PACKAGED_PREFIX
from affect.super_resolution.checkpoints import read_network
from affect.super_resolution.ncnn import packaged_network
from affect.super_resolution.networks import SuperResolutionNetwork
from affect.super_resolution.releases import DEFAULT_CACHE, RELEASES, fetch


def load_network(weights: str | Path, cache: str | Path = DEFAULT_CACHE) -> SuperResolutionNetwork:
    """Load a network with its weights.

    Args:
        weights: `x4plus`, `x2plus`, `general-x4v3` or `animevideov3` (official files, downloaded once);
            `packaged:x4plus` or `packaged:animevideov3` (float16 copies from a package, without a download); or the
            path of a `.pth` or `.safetensors` file.
        cache: Folder that keeps downloaded files.

    Returns:
        The network, in evaluation mode and without gradients.

    Raises:
        MissingFileError: If the file or the package is missing, or the download fails.
        InvalidOptionError: If the name is unknown.
        InvalidFileError: If the file is not a complete network of Real-ESRGAN.
    """
    name = str(weights)
    if name in RELEASES:
        try:
            return read_network(fetch(RELEASES[name], cache))
        except MissingFileError as error:
            raise MissingFileError(f"{error}; or use packaged:x4plus, which needs no download") from error
    if name.startswith(PACKAGED_PREFIX):
        return packaged_network(name.removeprefix(PACKAGED_PREFIX))
    if not Path(name).suffix:
        known = ", ".join([*RELEASES, f"{PACKAGED_PREFIX}x4plus", f"{PACKAGED_PREFIX}animevideov3"])
        raise InvalidOptionError(f"no network {name!r}; choose {known} or the path of a .pth file")
    return read_network(name)
