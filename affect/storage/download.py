"""A file from an HTTP server: kept only if it is complete and its content is the expected one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urljoin, urlsplit

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.atomic_write import atomic_path
from affect.storage.locks import exclusive_lock

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes received so far, and the total if the server tells it."""

_CHUNK: Final = 1 << 16
_TIMEOUT: Final = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""


class DownloadError(MissingFileError):
    """A file cannot be fetched; the message names its address and the reason."""


def fetch_once(
    url: str,
    path: str | Path,
    digest_of: Callable[[Path], str],
    digest: str,
    max_bytes: int,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Fetch a file unless it is there already; several processes may ask for it at once.

    A file that is there with another digest, for instance one put there by hand, is never replaced.

    Args:
        url: Address, http or https.
        path: Where the file is kept.
        digest_of: Computes a file's digest.
        digest: The expected digest.
        max_bytes: Size above which the transfer is broken off.
        on_progress: Told how far the transfer is, if there is one.

    Raises:
        DownloadError: If the file is missing and cannot be fetched; the message says where to put it.
        InvalidFileError: If the file that is there, or the fetched one, has another digest.
        StorageError: If the file cannot be written.
    """
    path = Path(path)
    if _is_kept(path, digest_of, digest):  # before the lock: the folder may be read-only
        return
    with exclusive_lock(path.with_name(f".{path.name}.lock")):
        if not _is_kept(path, digest_of, digest):
            try:
                download(url, path, lambda file: digest_of(file) == digest, max_bytes, on_progress)
            except DownloadError as error:
                raise DownloadError(
                    f"{path} is missing and {error}. Run the command again with a network connection, or fetch the "
                    "file elsewhere and put it there; it is used if its digest is right"
                ) from error


def _is_kept(path: Path, digest_of: Callable[[Path], str], digest: str) -> bool:
    if not path.is_file():
        return False
    if (found := digest_of(path)) != digest:
        raise InvalidFileError(f"{path} has the digest {found}, expected {digest}; remove it to fetch it again")
    return True


def download(
    url: str,
    path: str | Path,
    is_right: Callable[[Path], bool],
    max_bytes: int,
    on_progress: OnProgress = lambda done, total: None,
    timeout: tuple[float, float] = _TIMEOUT,
) -> None:
    """Fetch a file over HTTP(S); nothing is left at `path` unless it has arrived whole and is the right one.

    Proxies are taken from the environment. A redirect may lead to another server, but not from https to anything else.

    Args:
        url: Address, http or https.
        path: Where to put the file; parent folders are created.
        is_right: Decides on a complete file, before anything else opens it.
        max_bytes: Size above which the transfer is broken off.
        on_progress: Told how far the transfer is, also before the first byte; may raise to break it off.
        timeout: Seconds to wait for a connection, and for the next bytes.

    Raises:
        DownloadError: If the server cannot be reached, answers with an error, or the transfer breaks off.
        InvalidFileError: If the file is too large or not the right one.
        StorageError: If the file cannot be written.
    """
    import pooch  # here, since importing it takes longer than most commands need for their options
    from requests import RequestException

    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            sink = _Sink(file, url, max_bytes, on_progress)
            fetch = pooch.HTTPDownloader(
                chunk_size=_CHUNK,
                timeout=timeout,
                hooks={"response": [_refuse_redirect, sink.begin]},
                headers={"Accept-Encoding": "identity"},  # or the length that the server tells would be another
            )
            try:
                fetch(url, sink, None)
            except RequestException as error:
                raise DownloadError(f"{url} cannot be fetched: {_reason(error)}") from error
        if not is_right(temporary):
            raise InvalidFileError(
                f"{url} gave {sink.num_bytes:,} bytes that are not the expected file; they were not kept"
            )


class _Sink:
    """Where a transfer is written to: counts bytes, limits them, and tells how far it is."""

    def __init__(self, file: BinaryIO, url: str, max_bytes: int, on_progress: OnProgress) -> None:
        self.num_bytes = 0
        self._file = file
        self._url = url
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        self._total: int | None = None

    def begin(self, response: Any, *arguments: Any, **options: Any) -> None:
        if response.ok and not response.is_redirect:
            length = response.headers.get("content-length", "")
            self._total = int(length) if length.isascii() and length.isdecimal() else None
            self._check(self._total or 0)
            self._on_progress(0, self._total)

    def write(self, chunk: bytes) -> None:
        self.num_bytes += len(chunk)
        self._check(self.num_bytes)
        self._file.write(chunk)
        self._on_progress(self.num_bytes, self._total)

    def flush(self) -> None:
        """Do nothing; the transfer asks for it after every chunk."""

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise InvalidFileError(
                f"{self._url} gives more than {self._max_bytes:,} bytes, so it is not the expected file; nothing was "
                "kept"
            )


def _refuse_redirect(response: Any, *arguments: Any, **options: Any) -> None:
    """Refuse a redirect that leaves HTTP, or that gives up encryption."""
    from requests.exceptions import InvalidSchema

    if response.is_redirect:
        target = urljoin(response.url, response.headers["location"])
        allowed = ("https",) if urlsplit(response.url).scheme == "https" else ("http", "https")
        if urlsplit(target).scheme not in allowed:
            raise InvalidSchema(f"it redirects to {target}, which is refused")


def _reason(error: Exception) -> str:
    """Return the innermost cause of a transfer's error, without the address and the names of connections."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), Exception):
        error = inner
    text = next(iter(error.args), None)
    text = text if isinstance(text, str) else str(error)
    return re.sub(r"^\w+\(host=.*?\): ", "", text.partition(" for url: ")[0]).rstrip(".")
