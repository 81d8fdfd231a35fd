"""uvicorn's HTTP protocol with bounds on what a request may take, of which it has none of its own."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_BYTES", "HEAD_LINES", "REQUEST_S", "BoundedHttp"]

HEAD_BYTES: Final = 64 * 1024
HEAD_LINES: Final = 200
REQUEST_S: Final = 30.0
_TOO_LARGE: Final = "The head of the request is too large."


class BoundedHttp(HttpToolsProtocol):
    """Ends a connection whose request head exceeds HEAD_BYTES or HEAD_LINES, or that takes REQUEST_S for a request.

    A request that arrives in one piece, as all but the largest do, costs a few comparisons.
    """

    request_s = REQUEST_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._in_head = True
        self._begun = False
        self._received = 0
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.request_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._received += len(data)
        super().data_received(data)
        if not self._begun or self.transport.is_closing():
            return
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self.transport.close)
        if self._in_head and self._received > HEAD_BYTES:
            self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.headers) > HEAD_LINES or (self._received > HEAD_BYTES and self._head_bytes() > HEAD_BYTES):
            raise ValueError(_TOO_LARGE)  # the parser ends the connection with 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._settle()
        self._in_head = True
        self._begun = False
        self._received = 0

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
