"""A till behind the gateway: every effect is a line of its own file; it can stop before or after one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["Till", "till"]


class Till:
    """What it did is in `file`. Requests stop at the point that `stop` names until `go` is set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "effects.jsonl"
        self.file.touch()
        self.go = threading.Event()
        self._lock = threading.Lock()
        self.url = ""

    def stop_at(self, point: str) -> None:
        """Have calls stop at a point from now on; at none, where there is no such point."""
        (self.folder / "stop").write_text(point, encoding="utf-8")
        self.go.clear()

    def effects(self, what: str, ref: str) -> int:
        """Count what was done."""
        return sum((each["what"], each["ref"]) == (what, ref) for each in self._read())

    def _read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Do, or find, what is asked for."""
        if path == "/find":
            return next((each for each in self._read() if each["key"] == body["key"]), None)
        if body["what"] in {"read", "read_found"}:
            self._at("after-send", body["what"])
            self._at("after-effect", body["what"])
            return {"receipt": "read"}
        self._at("after-send", body["what"])
        done = self._do(body)
        self._at("after-effect", body["what"])
        return done

    def _do(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            before = [each for each in self._read() if body["key"] and each["key"] == body["key"]]
            if before:
                return before[0]
            done = {**body, "receipt": f"r-{len(self._read())}"}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done) + "\n")
            return done

    def _at(self, point: str, what: str) -> None:
        if (self.folder / "stop").read_text(encoding="utf-8") == point:
            (self.folder / f"{point}.{what}").touch()
            self.go.wait(60)


@contextmanager
def till(folder: Path) -> Iterator[Till]:
    """Serve a till until the block ends."""
    serving = Till(folder)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = serving.answer(self.path, body)
            content = json.dumps(found).encode()
            try:
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the gateway is gone
                return

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    serving.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        serving.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
