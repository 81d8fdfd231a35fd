"""Real servers, or why they cannot be had."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PAGES = {
    "/robots.txt": ("text/plain", "User-agent: *\nDisallow: /hidden\n"),
    "/page": ("text/html", "<html><head><title>T</title></head><body><h1>Page ü</h1><p>Some <b>text</b>.</p></body>"),
    "/long": ("text/plain", "0123456789" * 100),
    "/json": ("application/json", '{"a": [1, 2, null]}'),
    "/hidden": ("text/html", "<p>no</p>"),
}


class _Pages(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        kind, body = PAGES.get(self.path, ("text/plain", "nothing here"))
        self.send_response(200 if self.path in PAGES else 404)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """A web server with a few pages; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
