"""A gateway in 150 lines: real HTTP, real sessions, and calls that misbehave on request. Also a program."""

import argparse
import hashlib
import hmac
import json
import os
import secrets
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = b"k" * 64
MODERN = "io.modelcontextprotocol/protocolVersion"


class FakeGateway(ThreadingHTTPServer):
    """Listens on a free loopback port and writes what a bridge looks for into `folder`/.toolgate."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, agent: str = "local") -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.state = folder / ".toolgate"
        self.bearer = f"tgl.{agent}.{hmac.new(KEY, agent.encode(), hashlib.sha256).hexdigest()}"
        self.sessions: set[str] = set()
        self.received: list[tuple[str, dict[str, str], Any]] = []
        self.paths: set[str] = set()
        self.heard = threading.Condition()
        self.leases = 0
        self.offers_stream = False
        self.says_unasked: list[dict[str, Any]] = []
        self.refuses_sessions = False
        self.drops_sessions = False
        self.refuses_leases = 0
        self.resets_streams = 0
        self.forgetting: threading.Barrier | None = None
        self.opened = self.closed = 0
        self.treats_notifications = "accept"
        self.parallel = threading.Barrier(2)
        self.stopping = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Clients that hang up in the middle are what these tests are about."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.opened += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.heard:
            self.closed += 1
            self.heard.notify_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self) -> None:
        """Say that we run: the key first, the run file last and at once."""
        self.state.mkdir(exist_ok=True)
        (self.state / "local.key").write_bytes(KEY)
        (self.state / "run.json.new").write_text(json.dumps({"pid": os.getpid(), "url": self.url}))
        (self.state / "run.json.new").replace(self.state / "run.json")

    def note(self, verb: str, headers: dict[str, str], body: Any) -> None:
        with self.heard:
            self.received.append((verb, headers, body))
            self.heard.notify_all()

    def lease(self, change: int) -> None:
        with self.heard:
            self.leases += change
            self.heard.notify_all()

    def wait_until(self, holds: Any) -> None:
        """Wait until `holds(self)`; a bridge that never gets there fails the test."""
        with self.heard:
            assert self.heard.wait_for(lambda: holds(self), 10), "the gateway never heard of it"

    def heard_of(self, method: str) -> list[tuple[dict[str, str], Any]]:
        return [(h, b) for verb, h, b in self.received if isinstance(b, dict) and b.get("method") == method]


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeGateway

    def log_message(self, *_: object) -> None: ...

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        self.server.paths |= {self.path} - {"/-/lease"}
        return parsed

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.server.bearer}":
            self._answer(401, {"error": {"code": -32001, "message": "who are you"}})
        elif self.path == "/-/lease" and self.server.refuses_leases:
            self.server.refuses_leases -= 1
            self._answer(503, {"error": {"message": "starting"}})
        elif self.path == "/-/lease":
            self._hold()
        elif not self.server.offers_stream:
            self.server.note("GET", dict(self.headers), None)
            self._answer(405, {})
        else:
            self.server.note("GET", dict(self.headers), None)
            self.server.resets_streams -= 1
            if self.server.resets_streams >= 0:
                self._reset(None)
            else:
                self._stream(self.server.says_unasked)

    def do_DELETE(self) -> None:
        self.server.note("DELETE", dict(self.headers), None)
        if self.server.treats_notifications == "drop":
            self._drop(None)
        else:
            self._answer(200, {})

    def _hold(self) -> None:
        self._head(200, "text/event-stream")
        self._chunk(b":\n\n")
        self.server.lease(+1)
        self.rfile.read(1)  # until the bridge hangs up
        self.server.lease(-1)
        self.close_connection = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.server.note("POST", dict(self.headers), body)
        session = self.headers["Mcp-Session-Id"]
        if session and session not in self.server.sessions:
            if self.server.forgetting is not None:
                self.server.forgetting.wait(10)
            self._answer(404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "no such session"}})
        elif "id" not in body or "method" not in body:
            self._notified()
        elif body["method"] == "initialize":
            self._initialize(body)
        else:
            self._call(body, body.get("params", {}).get("name", ""))

    def _notified(self) -> None:
        if self.server.treats_notifications == "drop":
            self._drop(None)
        else:
            self._answer(202 if self.server.treats_notifications == "accept" else 400, None)

    def _initialize(self, body: Any) -> None:
        if self.server.drops_sessions:
            self._drop(None)
            return
        if self.server.refuses_sessions:
            self._answer(200, {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32000, "message": "not now"}})
            return
        session = secrets.token_hex(8)
        self.server.sessions.add(session)
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "fake", "version": "1"}}
        self._answer(200, {"jsonrpc": "2.0", "id": body["id"], "result": result}, {"Mcp-Session-Id": session})

    def _call(self, body: Any, name: str) -> None:
        result = {"jsonrpc": "2.0", "id": body["id"], "result": {"echo": body.get("params"), "pid": os.getpid()}}
        if name.isdigit():
            self._raw(int(name), b"<html>no</html>", "text/html")
        elif name == "meet":
            self.server.parallel.wait(10)
            self._answer(200, result)
        elif hasattr(self, f"_{name}"):
            getattr(self, f"_{name}")(result)
        else:
            self._answer(200, result)

    def _flow(self, result: Any) -> None:
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
        self._stream([progress, result])

    def _primed(self, result: Any) -> None:
        self._head(200, "text/event-stream")
        self._chunk(b"id: 1\nretry: 100\ndata: \n\n")
        self._chunk(b"id: 2\ndata: %s\n\n" % json.dumps(result).encode())
        self._chunk(b"")

    def _pretty(self, result: Any) -> None:
        self._raw(200, json.dumps(result, indent=2).encode(), "application/json")

    def _hang(self, _: Any) -> None:
        self.server.stopping.wait(30)
        self.close_connection = True

    def _called_off(self, result: Any) -> None:
        self.server.wait_until(lambda gateway: gateway.heard_of("notifications/cancelled"))
        self._answer(200, {"jsonrpc": "2.0", "id": result["id"], "error": {"code": -32800, "message": "called off"}})

    def _die(self, _: Any) -> None:
        os._exit(3)

    def _short(self, _: Any) -> None:
        self._raw(200, b"{}", "application/json", {"Content-Length": "100"})
        self.close_connection = True

    def _empty(self, _: Any) -> None:
        self._raw(200, b"", "application/json")

    def _babble(self, _: Any) -> None:
        self._raw(200, b"no json", "application/json")

    def _oops(self, _: Any) -> None:
        self._answer(500, {"detail": "no"})

    def _last(self, result: Any) -> None:
        self._answer(200, result)
        self.close_connection = True  # without saying so, as a server that is short of connections does

    def _drop(self, _: Any) -> None:
        self.close_connection = True
        self.connection.close()

    def _reset(self, _: Any) -> None:
        self._head(200, "text/event-stream")
        self._chunk(b":\n\n")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._drop(None)

    def _refused(self, result: Any) -> None:
        self._answer(403, {"jsonrpc": "2.0", "id": None, "error": {"code": -32003, "message": "origin"}})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(status, b"" if body is None else json.dumps(body).encode(), "application/json", headers)

    def _raw(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _stream(self, messages: list[dict[str, Any]]) -> None:
        self._head(200, "text/event-stream")
        for message in messages:
            lines = json.dumps(message, indent=1).splitlines()
            self._chunk(b"event: message\r\n" + b"".join(f"data: {line}\r\n".encode() for line in lines) + b"\r\n")
        self._chunk(b"")


def main() -> None:
    """Be the program a bridge starts: `up --config PATH --lease`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--fail")
    options, _ = parser.parse_known_args()
    with (options.config.parent / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if options.fail:
        raise SystemExit(options.fail)
    gateway = FakeGateway(options.config.parent)
    gateway.publish()
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    gateway.wait_until(lambda g: g.leases > 0)
    with gateway.heard:
        gateway.heard.wait_for(lambda: gateway.leases == 0, 60)


if __name__ == "__main__":
    main()
