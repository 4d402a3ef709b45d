"""Official weights by name: downloaded once, verified by a pinned SHA-256 and kept in a cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affect.storage.download import fetch_once
from affect.storage.fingerprint import file_digest

DEFAULT_CACHE: Final = Path(".cache/super_resolution")


@dataclass(frozen=True)
class Release:
    """A published weights file.

    Attributes:
        url: URL of the file.
        sha256: SHA-256 of the file.
        num_bytes: Size of the file.
    """

    url: str
    sha256: str
    num_bytes: int

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rsplit("/", 1)[-1]


_REALESRGAN: Final = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_GFPGAN: Final = "https://github.com/TencentARC/GFPGAN/releases/download"

RELEASES: Final = {
    "x4plus": Release(
        f"{_REALESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        67_040_989,
    ),
    "x2plus": Release(
        f"{_REALESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        67_061_725,
    ),
    "general-x4v3": Release(
        f"{_REALESRGAN}/v0.2.5.0/realesr-general-x4v3.pth",
        "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        4_885_111,
    ),
    "animevideov3": Release(
        f"{_REALESRGAN}/v0.2.5.0/realesr-animevideov3.pth",
        "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        2_504_012,
    ),
}
"""Networks of Real-ESRGAN by short name."""

FACE_ENHANCERS: Final = {
    "gfpgan-v1.3": Release(
        f"{_GFPGAN}/v1.3.0/GFPGANv1.3.pth",
        "c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        348_632_874,
    ),
}
"""Networks of GFPGAN (Wang et al. 2021, arXiv 2101.04061), which restores faces in the output of Real-ESRGAN."""


def fetch(release: Release, cache: str | Path = DEFAULT_CACHE) -> Path:
    """Return the path of a release's file, downloading it if the cache lacks it.

    Args:
        release: The release.
        cache: Folder of the downloaded files.

    Raises:
        DownloadError: If the file is not in the cache and cannot be downloaded.
        InvalidFileError: If the file in the cache, or the downloaded file, has another SHA-256.
    """
    path = Path(cache) / release.file_name
    fetch_once(release.url, path, file_digest, release.sha256, release.num_bytes)
    return path
