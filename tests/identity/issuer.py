"""A real HTTP server that plays an identity provider, well or badly behaved."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Issuer:
    """Answers a path with what `pages` holds: a JSON value, the bytes of a whole answer, or None to hang."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[str] = []
        self.url = ""
        self.hanging = asyncio.Event()
        self._release = asyncio.Event()

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/keys"

    def serve_keys(self, *keys: Any) -> None:
        self.pages["/keys"] = {"keys": list(keys)}

    def answer(self, path: str, status: str, body: bytes = b"", *headers: str) -> None:
        """Give `path` a hand-made answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        self.pages[path] = "\r\n".join(lines).encode() + body

    def hang(self, path: str) -> None:
        """Let the next requests for `path` wait for `go_on`."""
        self.hanging.clear()
        self._release.clear()
        self.pages[path] = None

    def go_on(self) -> None:
        """Answer those who wait."""
        self._release.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ", 2)[1].decode()
            self.asked.append(path)
            page = self.pages.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            if page is None:
                self.hanging.set()
                await self._release.wait()
                page = self.pages.get(path) or b""
            if not isinstance(page, bytes):
                body = json.dumps(page).encode()
                page = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
            writer.write(page)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up on an answer it did not want
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["Issuer"]:
        issuer = cls()
        server = await asyncio.start_server(issuer._serve, "127.0.0.1", 0)
        issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield issuer
        finally:
            issuer._release.set()
            server.close()
            await server.wait_closed()
