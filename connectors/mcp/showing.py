"""Requests that show one credential, on one behalf."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Final

from connectors.mcp.http_client import HttpClient, Reading
from connectors.mcp.http_reply import Reply
from gateway.connector import Behalf, ConnectorFault, Credential, Refusal, TimedOut

__all__ = ["Showing", "Shown"]

_REFUSALS: Final = frozenset({401, 403})


class Showing:
    """What a server is shown, of which the credential decides anew for every request."""

    def __init__(self, credential: Credential, behalf: Behalf) -> None:
        self._credential = credential
        self._behalf = behalf
        self._shown: Mapping[str, str] = {}
        self._lines = b""

    async def lines(self) -> tuple[Mapping[str, str], bytes]:
        """Return the headers to send, and the same as bytes. Raises `ConnectorFault`: nothing was sent."""
        shown = await self._credential.headers(self._behalf)
        if shown is not self._shown:
            self._lines = b"".join(_line(name, value) for name, value in shown.items())
            self._shown = shown
        return shown, self._lines

    async def refused(self, sent: Mapping[str, str], reply: Reply, *, again: bool) -> None:
        """Return if the request is to be tried again. Raises `ConnectorFault` if not."""
        challenge = reply.headers.get(b"www-authenticate", b"").decode("latin-1")
        await self._credential.refused(self._behalf, sent, Refusal(reply.status, challenge, again=again))


class Shown:
    """Requests to one server, each with what the server is to be shown, if anything."""

    def __init__(self, client: HttpClient, showing: Showing | None) -> None:
        self._client = client
        self._showing = showing
        self.varies = showing is not None
        """Whether what is to be shown has to be asked for first."""

    def send(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Awaitable[Reply]:
        """As `once`; a request that is refused for its credential alone is sent again with a renewed one."""
        if self._showing is None:
            return self._client.exchange(head, body, timeout_s, reading)
        return self._send(head, body, timeout_s, reading)

    def once(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Awaitable[Reply]:
        """Send one request and return its answer. Raises `ConnectorFault`."""
        if self._showing is None:
            return self._client.exchange(head, body, timeout_s, reading)
        return self._once(head, body, timeout_s, reading)

    async def _send(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Reply:
        assert self._showing is not None
        ends = asyncio.get_running_loop().time() + timeout_s
        reply, sent = await self._exchange(head, body, timeout_s, reading)
        if reply.status not in _REFUSALS:
            return reply
        await self._showing.refused(sent, reply, again=False)
        reply, sent = await self._exchange(head, body, _left(ends), reading)
        if reply.status in _REFUSALS:
            await self._showing.refused(sent, reply, again=True)
        return reply

    async def _once(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Reply:
        return (await self._exchange(head, body, timeout_s, reading))[0]

    async def _exchange(
        self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading
    ) -> tuple[Reply, Mapping[str, str]]:
        assert self._showing is not None
        ends = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                sent, lines = await self._showing.lines()
        except TimeoutError:
            raise TimedOut("The gateway's credential for this server could not be had in time.", sent=False) from None
        return await self._client.exchange(head + lines, body, _left(ends), reading), sent


def _left(ends: float) -> float:
    return ends - asyncio.get_running_loop().time()


def _line(name: str, value: str) -> bytes:
    if not all(char == "\t" or " " <= char <= "~" or "\xa0" <= char <= "\xff" for char in value):
        text = f"What is to be shown in {name} has characters that a header cannot carry."
        raise ConnectorFault(text, code="credential_expired", sent=False)
    return f"{name}: {value}\r\n".encode("latin-1")
