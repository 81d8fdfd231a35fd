"""Waiting on this machine for a browser to come back from an authorization server (RFC 8252 §7.3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gateway.credentials.accounts import Account
from gateway.credentials.consent import Consent, NotOurs
from gateway.credentials.fault import GrantRefused
from gateway.model.errors import ConnectorFault

__all__ = ["Loopback", "listening"]

_PATH: Final = "/callback"
_MOST_BYTES: Final = 16 * 1024
_READ_S: Final = 5.0
_DONE: Final = "Connected. You can close this page.", "200 OK"
_REFUSED: Final = "Not connected: the terminal says why. You can close this page.", "400 Bad Request"
_STRANGE: Final = "This is not what was asked for.", "400 Bad Request"


class Loopback:
    """A redirect URI on this machine. Whoever comes with anything but the answer changes nothing."""

    def __init__(self) -> None:
        self.redirect = ""
        self._authority = ""
        self._consent: Consent | None = None
        self._account: asyncio.Future[Account] = asyncio.get_running_loop().create_future()

    async def account(self, consent: Consent) -> Account:
        """Wait for the user. Raises what `Consent.given` raises, but for `NotOurs`."""
        self._consent = consent
        return await self._account

    def at(self, port: int) -> None:
        """Note the port that is listened on."""
        self._authority = f"127.0.0.1:{port}"
        self.redirect = f"http://{self._authority}{_PATH}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            async with asyncio.timeout(_READ_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            text, status = await self._answer(head)
            body = text.encode()
            lines = (f"HTTP/1.1 {status}", "Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}")
            safe = ("Cache-Control: no-store", "Referrer-Policy: no-referrer", "Connection: close", "", "")
            writer.write("\r\n".join((*lines, *safe)).encode() + body)
            await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async def _answer(self, head: str) -> tuple[str, str]:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
        if len(words) != 3 or words[0] != "GET" or hosts != [self._authority] or self._consent is None:
            return _STRANGE
        parts = urlsplit(words[1])
        pairs = parse_qsl(parts.query)
        if parts.path != _PATH or len({name for name, _ in pairs}) != len(pairs):
            return _STRANGE
        try:
            account = await self._consent.given(dict(pairs))
        except NotOurs:
            return _STRANGE
        except (GrantRefused, ConnectorFault) as refusal:
            self._account.set_exception(refusal)
            return _REFUSED
        self._account.set_result(account)
        return _DONE


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[Loopback]:
    """Listen on `port`, 0 for a free one. Raises `OSError` where it is taken."""
    loopback = Loopback()
    server = await asyncio.start_server(loopback.serve, "127.0.0.1", port, limit=_MOST_BYTES)
    try:
        loopback.at(server.sockets[0].getsockname()[1])
        yield loopback
    finally:
        server.close()
        await server.wait_closed()
