"""Requests that show one credential, on one behalf."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Final, NamedTuple

from connectors.mcp.http_client import HttpClient, Reading
from connectors.mcp.http_reply import Reply
from gateway.connector import Behalf, ConnectorFault, Credential, Refusal, TimedOut

__all__ = ["Request", "Showing", "Shown"]

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
        return self._as_lines(await self._credential.headers(self._behalf))

    def at_hand(self) -> tuple[Mapping[str, str], bytes] | None:
        """As `lines`, where nothing has to be waited for; else None."""
        shown = self._credential.at_hand(self._behalf)
        try:
            return None if shown is None else self._as_lines(shown)
        except ConnectorFault:
            return None

    def _as_lines(self, shown: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
        if shown is not self._shown:
            self._lines = b"".join(_line(name, value) for name, value in shown.items())
            self._shown = shown
        return shown, self._lines

    async def refused(self, sent: Mapping[str, str], reply: Reply, *, again: bool) -> None:
        """Return if the request is to be tried again. Raises `ConnectorFault` if not."""
        challenge = reply.headers.get(b"www-authenticate", b"").decode("latin-1")
        await self._credential.refused(self._behalf, sent, Refusal(reply.status, challenge, again=again))


class Request(NamedTuple):
    """One request, which can be sent again with something else to show, and when it `ends` on the loop's clock."""

    head: bytes
    body: bytes | None
    ends: float


class Shown:
    """Requests to one server, each with what the server is to be shown, if anything."""

    def __init__(self, client: HttpClient, showing: Showing | None) -> None:
        self._client = client
        self.showing: Final = showing

    def send(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Awaitable[Reply]:
        """As `once`; a request that is refused for its credential alone is sent again with a renewed one."""
        if self.showing is None:
            return self._client.exchange(head, body, timeout_s, reading)
        return self._send(head, body, timeout_s, reading)

    def once(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Awaitable[Reply]:
        """Send one request and return its answer. Raises `ConnectorFault`."""
        if self.showing is None:
            return self._client.exchange(head, body, timeout_s, reading)
        return self._once(head, body, timeout_s, reading)

    async def _send(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Reply:
        request = Request(head, body, asyncio.get_running_loop().time() + timeout_s)
        reply, sent = await self._exchange(head, body, timeout_s, reading)
        return await self._accepted(request, reading, reply, sent)

    async def reply_to(self, reading: Reading, begun: "tuple[Request, Mapping[str, str]] | None") -> Reply:
        """Return the answer, as `send` does, to what was sent already: the request, and what was shown with it."""
        reply = await self._client.reply_to(reading)
        return reply if begun is None else await self._accepted(begun[0], reading, reply, begun[1])

    async def _accepted(self, request: Request, reading: Reading, reply: Reply, sent: Mapping[str, str]) -> Reply:
        """Return the answer to a request, or to the next one where it was refused for its credential alone."""
        if reply.status not in _REFUSALS:
            return reply
        assert self.showing is not None
        await self.showing.refused(sent, reply, again=False)
        reply, sent = await self._exchange(request.head, request.body, _left(request.ends), reading)
        if reply.status in _REFUSALS:
            await self.showing.refused(sent, reply, again=True)
        return reply

    async def _once(self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading) -> Reply:
        return (await self._exchange(head, body, timeout_s, reading))[0]

    async def _exchange(
        self, head: bytes, body: bytes | None, timeout_s: float, reading: Reading
    ) -> tuple[Reply, Mapping[str, str]]:
        assert self.showing is not None
        ends = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                sent, lines = await self.showing.lines()
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
