"""A scripted HTTP server that keeps what it was sent, byte by byte."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.codec import dump, parse

__all__ = ["Api", "Seen", "answer"]


@dataclass(frozen=True)
class Seen:
    """One request as it came; header names lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return parse(self.body)


def answer(
    body: Any = b"", status: str = "200 OK", kind: str | None = "application/json", **headers: str
) -> Callable[[Seen], bytes]:
    """A complete answer; `body` is bytes, or something for JSON."""
    raw = body if isinstance(body, bytes) else dump(body)
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + raw
    return lambda seen: whole


class Api:
    """Answers `METHOD /path` (without the query) as scripted, else 404; a script that returns nothing hangs up."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Callable[[Seen], bytes]] = {}
        self._tls = tls
        self.seen: list[Seen] = []
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Api":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    def on(self, request: str, script: Callable[[Seen], bytes]) -> None:
        self.answers[request] = script

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                seen = await _read(reader)
                self.seen.append(seen)
                script = self.answers.get(f"{seen.method} {seen.target.partition('?')[0]}")
                reply = (script or answer({"error": "nothing here"}, "404 Not Found"))(seen)
                writer.write(reply)
                await writer.drain()
                if not reply or b"Connection: close" in reply:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:])}
    return Seen(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
