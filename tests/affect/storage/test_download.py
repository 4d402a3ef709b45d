"""Transfers that go right, and all the ways in which they do not: nothing wrong is left where the file belongs."""

import multiprocessing
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from affect.errors import InvalidFileError
from affect.storage import download as module
from affect.storage.download import DownloadError, download, fetch_once
from affect.storage.fingerprint import file_digest
from affect.storage.write_errors import StorageError
from tests.file_server import FileServer, begin, redirect

CONTENT = bytes(range(256)) * 1000
LIMIT = 1 << 20


def is_right(path: Path) -> bool:
    return path.read_bytes() == CONTENT


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("**/*") if path.is_file())


def test_a_file_arrives_and_its_progress_is_told(file_server: FileServer, tmp_path: Path) -> None:
    file_server.answers["a.pt"] = CONTENT
    told: list[tuple[int, int | None]] = []
    download(f"{file_server.url}/a.pt", tmp_path / "deep" / "a.pt", is_right, LIMIT, lambda *at: told.append(at))
    assert (tmp_path / "deep" / "a.pt").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["a.pt"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_file_without_a_length_arrives_too(file_server: FileServer, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, None)
        handler.wfile.write(CONTENT)

    file_server.answers["a.pt"] = answer
    told: list[tuple[int, int | None]] = []
    download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT, lambda *at: told.append(at))
    assert {total for _, total in told} == {None}
    assert is_right(tmp_path / "a.pt")


def cut(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, len(CONTENT))
    handler.wfile.write(CONTENT[:1000])


def cut_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"a\r\n0123456789\r\n")


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (cut, "IncompleteRead"),
        (cut_chunks, "ended prematurely"),
        (no_http, "cannot be fetched"),
        (redirect("file:///etc/hostname"), "redirects to file:///etc/hostname, which is refused"),
        (redirect("ftp://127.0.0.1/a.pt"), "redirects to ftp://127.0.0.1/a.pt, which is refused"),
        (redirect("/a.pt"), "30 redirects"),
        (None, "404 Client Error: Not Found$"),
    ],
    ids=["cut", "cut chunks", "no http", "to a file", "to ftp", "in a circle", "missing"],
)
def test_a_transfer_that_fails_leaves_nothing(
    file_server: FileServer, tmp_path: Path, answer: object, reason: str
) -> None:
    if answer is not None:
        file_server.answers["a.pt"] = answer  # type: ignore[assignment]
    with pytest.raises(DownloadError, match=rf"{file_server.url}/a\.pt cannot be fetched: .*{reason}|{reason}"):
        download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT)
    assert files_in(tmp_path) == []


def test_a_redirect_to_another_address_is_followed(file_server: FileServer, tmp_path: Path) -> None:
    file_server.answers |= {"old.pt": redirect(f"{file_server.url}/new/a.pt"), "new/a.pt": CONTENT}
    download(f"{file_server.url}/old.pt", tmp_path / "a.pt", is_right, LIMIT)
    assert is_right(tmp_path / "a.pt")


def test_a_redirect_must_not_give_up_encryption() -> None:
    class Response:
        is_redirect = True
        url = "https://example.org/a.pt"
        headers = {"location": "http://example.org/a.pt"}  # noqa: RUF012

    with pytest.raises(OSError, match=r"redirects to http://example\.org/a\.pt, which is refused"):
        module._refuse_redirect(Response())
    Response.headers = {"location": "//other.org/a.pt"}
    module._refuse_redirect(Response())


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_falls_silent_is_given_up(file_server: FileServer, tmp_path: Path, begun: bool) -> None:
    released = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if begun:
            begin(handler, len(CONTENT))
            handler.wfile.write(CONTENT[:1000])
            handler.wfile.flush()
        released.wait(30)

    file_server.answers["a.pt"] = answer
    start = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT, timeout=(5, 0.2))
    assert time.monotonic() - start < 10
    released.set()
    assert files_in(tmp_path) == []


def test_without_a_server_the_reason_is_short(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound but not listening: nothing else can answer there
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.pt"
        with pytest.raises(DownloadError) as error:
            download(url, tmp_path / "a.pt", is_right, LIMIT)
    expected = f"{url} cannot be fetched: Failed to establish a new connection: [Errno 111] Connection refused"
    assert str(error.value) == expected
    with pytest.raises(DownloadError, match=r"No connection adapters were found for 'file:"):
        download((tmp_path / "b").as_uri(), tmp_path / "a.pt", is_right, LIMIT)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("length", [None, LIMIT + 1])
def test_an_endless_file_is_broken_off(file_server: FileServer, tmp_path: Path, length: int | None) -> None:
    sent = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, length)
        for _ in range(100):
            sent.append(handler.wfile.write(bytes(LIMIT)))

    file_server.answers["a.pt"] = answer
    with pytest.raises(InvalidFileError, match=r"more than 1,048,576 bytes, so it is not the expected file"):
        download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT)
    assert len(sent) < 100
    assert files_in(tmp_path) == []


def test_another_file_is_not_kept(file_server: FileServer, tmp_path: Path) -> None:
    file_server.answers["a.pt"] = CONTENT[:-1] + b"x"
    with pytest.raises(InvalidFileError, match=r"gave 256,000 bytes that are not the expected file; they were not"):
        download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT)
    assert files_in(tmp_path) == []


def test_a_full_disk_is_named_and_not_the_server(file_server: FileServer, tmp_path: Path) -> None:
    file_server.answers["a.pt"] = CONTENT
    (tmp_path / "folder").write_text("a file stands in the way")
    with pytest.raises(StorageError, match=r"folder/a\.pt cannot be written"):
        download(f"{file_server.url}/a.pt", tmp_path / "folder" / "a.pt", is_right, LIMIT)

    def fill_up(done: int, total: int | None) -> None:
        if done > 100_000:
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"a\.pt cannot be written: No space left on device"):
        download(f"{file_server.url}/a.pt", tmp_path / "a.pt", is_right, LIMIT, fill_up)
    assert files_in(tmp_path) == ["folder"]


@pytest.fixture
def digest(tmp_path: Path) -> str:
    (tmp_path / "expected").write_bytes(CONTENT)
    digest = file_digest(tmp_path / "expected")
    (tmp_path / "expected").unlink()
    return digest


def test_a_file_is_fetched_once(file_server: FileServer, tmp_path: Path, digest: str) -> None:
    file_server.answers["a.pt"] = CONTENT
    for _ in range(3):
        fetch_once(f"{file_server.url}/a.pt", tmp_path / "a.pt", file_digest, digest, LIMIT)
    assert file_server.requests == ["a.pt"]


def test_a_file_put_there_by_hand_is_used_if_it_is_right(file_server: FileServer, tmp_path: Path, digest: str) -> None:
    path = tmp_path / "cache" / "a.pt"
    with pytest.raises(DownloadError, match=rf"^{path} is missing and .*404.*put it there; it is used if its digest"):
        fetch_once(f"{file_server.url}/a.pt", path, file_digest, digest, LIMIT)
    path.write_bytes(CONTENT)
    path.parent.chmod(0o555)  # as a shared cache may be
    fetch_once(f"{file_server.url}/a.pt", path, file_digest, digest, LIMIT)
    path.parent.chmod(0o755)
    assert file_server.requests == ["a.pt"]

    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InvalidFileError, match=rf"{path} has the digest [0-9a-f]{{64}}, expected {digest}; remove it"):
        fetch_once(f"{file_server.url}/a.pt", path, file_digest, digest, LIMIT)
    assert path.read_bytes() == CONTENT[:-1]


def _fetch(url: str, path: Path, digest: str) -> None:
    fetch_once(url, path, file_digest, digest, LIMIT)


@pytest.mark.slow
def test_processes_that_ask_at_once_share_one_transfer(file_server: FileServer, tmp_path: Path, digest: str) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        begin(handler, len(CONTENT))
        handler.wfile.write(CONTENT)

    file_server.answers["a.pt"] = slow
    arguments = f"{file_server.url}/a.pt", tmp_path / "a.pt", digest
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fetch, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert file_server.requests == ["a.pt"]
    assert is_right(tmp_path / "a.pt")
