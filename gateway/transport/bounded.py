"""uvicorn's HTTP protocol with bounds on what a request may take, and a short way for requests like those before them.

uvicorn has no bounds of its own. Its parser is asked once about the head of a POST to MCP; while later requests bring
the same bytes for a head, and exactly as much body as these announce, there is nothing left to parse.
"""

import asyncio
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.transport.cycle import Cycle, Worker
from gateway.transport.head import KNOWN, Head

__all__ = ["HEAD_BYTES", "HEAD_LINES", "REQUEST_S", "BoundedHttp", "Familiar", "Malformed"]

HEAD_BYTES: Final = 64 * 1024
HEAD_LINES: Final = 200
REQUEST_S: Final = 30.0
_TOO_LARGE: Final = "The head of the request is too large."
_TOO_LARGE_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE.encode())
)
_MOST_WAITING: Final = 100
"""Requests on one connection that wait for the one before them."""

_MALFORMED: Final = "Invalid HTTP request received."
_TELL_AGAIN_S: Final = 60.0
_TUNNEL: Final = "There is no proxy here."
_CODING: Final = "The body is in an encoding that nobody takes."
_END: Final = b"\r\n\r\n"
_FAMILIAR: Final = 512
_FAMILIAR_HEAD: Final = 4096
_FAMILIAR_BODY: Final = 64 * 1024
_UPGRADING: Final = frozenset({b"upgrade", b"http2-settings"})
"""Headers that ask for another protocol, and what `Connection` calls them."""

_FRAMING: Final = frozenset({b"expect", b"trailer", b"transfer-encoding", b"upgrade"})
"""Headers by which a request is more than its head and a number of bytes."""


class Familiar:
    """The heads of requests that were parsed before, by their bytes: the length of the body, and the ASGI scope.

    A credential in one is no more than a claim, as in any head: who sends it is asked with every request.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, dict[str, Any]]] = {}

    def find(self, head: bytes) -> tuple[int, dict[str, Any]] | None:
        """Return what is known of a head, or None."""
        return self._known.get(head)

    def learn(self, data: bytes, scope: dict[str, Any]) -> None:
        """Remember the head of a request, if `data` is the whole of that request and framed in the plainest way."""
        end = data.find(_END) + len(_END)
        head, headers = data[:end], scope["headers"]
        lengths = [value for name, value in headers if name == b"content-length"]
        if len(lengths) != 1 or lengths[0] != b"%d" % (len(data) - end) or len(data) - end > _FAMILIAR_BODY:
            return
        if not head.startswith(b"POST ") or head.count(b"\n") != head.count(b"\r\n"):
            return  # the first empty line may not be where the parser saw the end
        if len(head) > _FAMILIAR_HEAD or not _FRAMING.isdisjoint(name for name, _ in headers):
            return
        if len(self._known) >= _FAMILIAR:
            self._known.clear()
        kept = {**scope, KNOWN: Head(headers)}
        self._known[head] = len(data) - end, kept


class Malformed:
    """How many requests were not HTTP: whoever sends a flood of them must not fill the log."""

    def __init__(self) -> None:
        self._untold = 0
        self._told_at: float | None = None

    def count(self, now: float) -> int:
        """Count one more; return how many there were since they were told of, once in 60 s, else 0."""
        self._untold += 1
        if self._told_at is not None and now - self._told_at < _TELL_AGAIN_S:
            return 0
        told, self._untold, self._told_at = self._untold, 0, now
        return told


class BoundedHttp(HttpToolsProtocol):
    """Ends a connection whose request head exceeds HEAD_BYTES or HEAD_LINES, or that takes REQUEST_S for a request.
    So it does where chunks or trailers take more than HEAD_BYTES without any more of the body.

    Of requests that are sent before others are answered at most 100 wait; none of them is begun once the client left.
    A request that arrives in one piece, as all but the largest do, costs a few comparisons.
    """

    request_s = REQUEST_S
    familiar: Familiar | None = None
    malformed: Malformed
    _served: RequestResponseCycle | None = None
    _worker: Worker | None = None
    _repeated: tuple[int, dict[str, Any]] | None = None
    """What is known of the head that was sent last, of which `_again` is the scope on this connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._in_head = True
        self._begun = False
        self._too_large = False
        self._received = 0
        self._whole = b""
        self._idle_since = 0.0
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.request_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self._worker is not None:
            self._worker.retire()
        super().connection_lost(exc)
        served = self._served
        if served is None or served.response_complete:
            return
        served.disconnected = True  # uvicorn tells the latest request only, which may be one that waits
        served.message_event.set()
        if isinstance(served, Cycle):
            served.lost()

    def data_received(self, data: bytes) -> None:
        if not self._begun and self.familiar is not None:
            cycle = self.cycle
            if (cycle is None or cycle.response_complete) and self._took_short_way(data, self.familiar):
                return
        self._whole = b"" if self._begun else data
        self._received += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if not self._begun or self.transport.is_closing():
            return
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self.transport.close)
        if self._received > HEAD_BYTES:
            self._refuse_head() if self._in_head else self.transport.close()

    def _parse(self, data: bytes) -> None:
        """As uvicorn's, but a request that offers another protocol is read as any other: its parser drops the body."""
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            if self._too_large:
                self._refuse_head()
                return
            if times := self.malformed.count(self.loop.time()):
                self.logger.warning("%s (%d since last told)", _MALFORMED, times)
            self.send_400_response(_MALFORMED)
        except HttpParserUpgrade as declined:
            self._whole = b""
            again = self._head_without_upgrade() + data[declined.args[0] :]
            self.parser = HttpRequestParser(self)  # the other one takes no more where the client wants to close
            self._parse(again)

    def _refuse_head(self) -> None:
        self.transport.write(_TOO_LARGE_ANSWER)
        self.transport.close()

    def _head_without_upgrade(self) -> bytes:
        kept = [line for line in self.headers if line[0] not in _UPGRADING]
        lines = [b"%b: %b" % (name, _declined(value) if name == b"connection" else value) for name, value in kept]
        return b"\r\n".join([b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url), *lines]) + _END

    def _took_short_way(self, data: bytes, familiar: Familiar) -> bool:
        """Answer a request that is whole and whose head is known; the parser, between two requests, never sees it."""
        end = data.find(_END) + len(_END)
        found = familiar.find(data[:end])
        if found is None or found[0] != len(data) - end or self.transport.is_closing():
            return False
        if self._deadline is not None:
            self._settle()
        if found is not self._repeated:
            self._repeated, self._again = found, {**found[1], "client": self.client}
        self.cycle = self._served = cycle = Cycle(self, self._again, data[end:], self.on_response_complete)
        worker = self._worker
        if worker is None or not worker.takes(cycle):
            if worker is not None:
                worker.retire()  # it has something left to do about the request before
            self._worker = Worker(self.app, self.tasks, cycle)
        return True

    def on_message_begin(self) -> None:
        self._begun = self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; none from behind the body: whoever looks at heads on the way never saw it there."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._received = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.headers) > HEAD_LINES or (self._received > HEAD_BYTES and self._head_bytes() > HEAD_BYTES):
            self._too_large = True
            raise ValueError(_TOO_LARGE)  # it ends the parser
        self._received = 0
        if not self.url.startswith(b"/") and not self._is_ours():
            raise ValueError(_TUNNEL)
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            raise ValueError(_CODING)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError(_TUNNEL)
            return
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_WAITING:
            self.transport.close()

    def _is_ours(self) -> bool:
        """Whether what is asked for is `*`, or a whole URL with the host that the header says, which others look at."""
        _, scheme, rest = self.url.partition(b"://")
        hosts = [value.lower() for name, value in self.headers if name == b"host"]
        return self.url == b"*" or (bool(scheme) and hosts == [rest.partition(b"/")[0].lower()])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._settle()
        if self._whole and self.familiar is not None:
            self._remember(self.familiar)
        self._whole = b""
        self._in_head = True
        self._begun = False
        self._received = 0

    def _remember(self, familiar: Familiar) -> None:
        scope: Any = self.scope
        if scope["method"] == "POST" and f"{scope['path']}/".startswith("/mcp/") and self.cycle.keep_alive:
            familiar.learn(self._whole, scope)

    def on_response_complete(self) -> None:
        """As uvicorn's, with one timer for many requests: it looks how long the connection has been idle."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_more(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self.cycle.response_complete:
            return  # its end will have it waited for again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._await_more(left)
        else:
            super().timeout_keep_alive_handler()

    def _await_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _declined(connection: bytes) -> bytes:
    """Return a `Connection` header without what asks for another protocol."""
    return b",".join(token for token in connection.split(b",") if token.strip().lower() not in _UPGRADING)
