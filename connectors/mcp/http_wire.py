"""MCP's Streamable HTTP transport, client side, both eras."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from connectors.mcp.http_client import HttpClient, Reply
from connectors.mcp.wire import SessionLost, StatusError, answer_to, encode, result_of
from gateway.connector import (
    Clock,
    CodecError,
    ConnectorFault,
    CredentialExpired,
    Rejected,
    TimedOut,
    Unavailable,
    dump,
    parse,
    parse_retry_after,
    plain,
)

__all__ = ["HttpWire"]

_ASIDE_S: Final = 5.0
_CLOSE_S: Final = 1.0
_MAX_ASIDES: Final = 32
_INVALID_REQUEST: Final = -32600
_SESSIONLESS: Final = frozenset({"initialize", "server/discover"})


class HttpWire:
    """Speaks MCP to its client's URL. Every request is its own exchange; nothing is shared but idle connections."""

    def __init__(self, client: HttpClient, headers: Mapping[str, str], clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._numbers = itertools.count(1)
        self._open = False
        self._session = b""
        self._asides: set[asyncio.Task[None]] = set()
        self._listener: Callable[[str], None] = lambda method: None
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._common = (
            f"Host: {self._client.authority}\r\nAccept-Encoding: identity\r\nUser-Agent: toolgate\r\n{own}"
        ).encode("latin-1")
        self._post = (
            b"POST %b HTTP/1.1\r\n%bAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
            % (self._client.target.encode("ascii"), self._common)
        )

    @property
    def alive(self) -> bool:
        return self._open

    async def open(self) -> None:
        self._session = b""
        self._open = True

    async def close(self) -> None:
        self._open = False
        asides = list(self._asides)
        for aside in asides:
            aside.cancel()
        if asides:
            await asyncio.wait(asides, timeout=_CLOSE_S)
        if self._session:
            await self._end_session()
        await self._client.close()

    def on_notification(self, listener: Callable[[str], None]) -> None:
        self._listener = listener

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        reply = await self._send(dump({"jsonrpc": "2.0", "method": method, "params": params}), headers, _ASIDE_S)
        self._refuse_status(reply, self._session)

    async def request(self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float) -> Any:
        number = next(self._numbers)
        found: list[Mapping[str, Any]] = []

        def recognise(data: bytes) -> bool:
            message = self._incoming(data, number, headers)
            if message is None:
                return False
            found.append(message)
            return True

        if method in _SESSIONLESS:
            self._session = b""
        session = self._session
        try:
            reply = await self._send(encode(number, method, params), headers, timeout_s, recognise)
        except (asyncio.CancelledError, TimedOut) as error:
            if session and getattr(error, "sent", True):  # closing the stream says nothing to a legacy server
                self._tell_cancelled(number, headers)
            raise
        if not found:
            found.append(self._message(reply, number, session))
        if method == "initialize":
            self._session = reply.headers.get(b"mcp-session-id", b"")
        return result_of(found[0], reply.status)

    async def _send(
        self, body: bytes, headers: bytes, timeout_s: float, recognise: Callable[[bytes], bool] = lambda data: False
    ) -> Reply:
        head = self._post + headers
        if self._session:
            head += b"Mcp-Session-Id: %b\r\n" % self._session
        return await self._client.exchange(head, body, timeout_s, recognise)

    def _message(self, reply: Reply, number: int, session: bytes) -> Mapping[str, Any]:
        """Return the JSON-RPC response in a plain answer, or raise what its status or its shape means."""
        if reply.status != 200:
            self._refuse_status(reply, session)
            if reply.status < 400:
                raise _not_an_answer(f"HTTP {reply.status} where an answer was due")
        try:
            message = parse(reply.body)
        except CodecError as error:
            message = None
            why = f"not JSON: {error}"
        else:
            why = "no JSON-RPC response to this request"
        if isinstance(message, dict) and "method" not in message:
            identity = message.get("id")
            if identity == number and type(identity) is int:
                return message
            if reply.status >= 400 and identity is None and isinstance(message.get("error"), dict):
                return message
        if reply.status >= 400:
            raise StatusError(_INVALID_REQUEST, f"HTTP status {reply.status}", status=reply.status)
        raise _not_an_answer(why)

    def _refuse_status(self, reply: Reply, session: bytes) -> None:
        """Raise what a status means by itself; 2xx and other 4xx pass. `session` is the one the request named."""
        status = reply.status
        detail = f"HTTP {status}: {plain(reply.body[:400].decode('utf-8', 'replace'))}"
        if 300 <= status < 400:
            raise Rejected(
                "The server answered with a redirect, which is not followed; correct its url.", detail=detail
            )
        if status == 401:
            raise CredentialExpired(detail=detail)
        if status == 403:
            raise Rejected("The server refused the gateway's credential for this (403).", detail=detail)
        if session and _session_is_lost(reply):
            raise SessionLost(_INVALID_REQUEST, "the session ended", status=status)
        if status == 429 or status >= 500:
            header = reply.headers.get(b"retry-after")
            wait = parse_retry_after(header.decode("latin-1") if header else None, self._clock.now_ms())
            raise Unavailable(f"The server cannot answer now (HTTP {status}).", retry_after_s=wait, detail=detail)

    def _incoming(self, data: bytes, number: int, headers: bytes) -> Mapping[str, Any] | None:
        """Take one event; return it if it is the response to request `number`."""
        try:
            message = parse(data)
        except CodecError:
            return None
        if not isinstance(message, dict):
            return None
        method = message.get("method")
        if method is None:
            identity = message.get("id")
            return message if identity == number and type(identity) is int else None
        if "id" in message:
            self._aside(answer_to(message), headers)
        elif isinstance(method, str):
            self._listener(method)
        return None

    def _tell_cancelled(self, number: int, headers: bytes) -> None:
        params = {"requestId": number, "reason": "the caller no longer waits"}
        self._aside(dump({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}), headers)

    def _aside(self, body: bytes, headers: bytes) -> None:
        """Send something whose fate does not matter to any call."""
        if not self._open or len(self._asides) >= _MAX_ASIDES:
            return
        task = asyncio.ensure_future(self._send_aside(body, headers))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _send_aside(self, body: bytes, headers: bytes) -> None:
        try:
            await self._send(body, headers, _ASIDE_S)
        except ConnectorFault:
            return

    async def _end_session(self) -> None:
        head = b"DELETE %b HTTP/1.1\r\n%bMcp-Session-Id: %b\r\n" % (
            self._client.target.encode("ascii"),
            self._common,
            self._session,
        )
        self._session = b""
        try:
            await self._client.exchange(head, b"", _CLOSE_S, lambda data: False)
        except ConnectorFault:
            return


def _session_is_lost(reply: Reply) -> bool:
    """404 is the specification's sign; servers in the field also say 400 and name the session."""
    return reply.status == 404 or (reply.status == 400 and b"session" in reply.body[:1000].lower())


def _not_an_answer(why: str) -> ConnectorFault:
    return ConnectorFault("The server's answer cannot be used.", code="contract_broken", detail=why)
