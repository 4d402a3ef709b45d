"""A web server on the loopback interface whose answers a test chooses."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]
"""Content of a file, or a function that answers the request itself."""


class FileServer:
    """Serves `answers` by path, and counts requests; anything else is not found.

    Attributes:
        answers: What is served, by path without the leading slash.
        requests: Paths in the order of the requests.
        url: Address of the server, without a trailing slash.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                outer.requests.append(path)
                answer = outer.answers.get(path)
                if answer is None:
                    self.send_error(404)
                elif isinstance(answer, bytes):
                    begin(self, len(answer))
                    self.wfile.write(answer)
                else:
                    answer(self)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def begin(handler: BaseHTTPRequestHandler, length: int | None) -> None:
    """Begin a successful answer; the length may be left unsaid."""
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def redirect(target: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer that leads elsewhere."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer
