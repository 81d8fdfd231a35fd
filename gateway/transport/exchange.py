"""One HTTP request on `/mcp`: what came in, who sent it, and the way back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from gateway.codec import dump
from gateway.model.identity import ClientInfo
from gateway.model.operation import TOOL_CALL
from gateway.model.request import Caller
from gateway.transport.back import HttpBack
from gateway.transport.cycle import Cycle
from gateway.transport.head import KNOWN, Head
from gateway.transport.lookout import Lookout
from gateway.transport.said import NOTHING, Said
from gateway.transport.wire import JSON_LINES, ClientGone, RpcError, RpcRequest, send_json

__all__ = ["LOOPBACK_PEERS", "Exchange"]

_STREAM_AFTER_S: Final = 10.0
_CALLED_OFF: Final = -32800
_REMEMBERED: Final = 4096
"""Bytes of the largest body of which is remembered what its client says of itself."""

LOOPBACK_PEERS: Final = frozenset({"127.0.0.1", "::1"})


class Exchange:
    """A request on its connection. `request` is None until its body is read; `endpoint` is the virtual one.

    `said` is what its client says of itself in `params._meta`. `cycle` answers at once, where the request came whole.
    """

    __slots__ = (
        *("_back", "_ends", "_gone", "_lookout", "_stream_after_s", "_watcher"),
        *("cycle", "endpoint", "head", "headers", "receive", "request", "said", "scope", "send"),
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, endpoint: str = "", lookout: Lookout | None = None
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        known: Head | None = scope.get(KNOWN)
        self.head = head = Head(scope["headers"]) if known is None else known
        self.cycle: Cycle | None = None if known is None else receive.__self__  # type: ignore[attr-defined]  # see KNOWN
        self.headers = head.headers
        self.request: RpcRequest | None = None
        self.said = NOTHING
        self.endpoint = endpoint
        self._lookout = lookout or Lookout()
        self._gone = False
        self._back: HttpBack | None = None
        self._ends: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None

    def asks(self, request: RpcRequest) -> None:
        """Take note of the message that the body holds."""
        self.request = request
        meta = request.params.get("_meta")
        if not isinstance(meta, dict):
            return
        known = self.head.said
        if known.meta == meta:
            self.said = known
            return
        self.said = said = Said(meta)
        if self.cycle is not None and len(self.cycle.body) <= _REMEMBERED:
            self.head.said, self.head.caller, self.head.agreed = said, None, None

    def header_lines(self) -> list[tuple[str, str]]:
        """Return the headers as they came, repeated ones too."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.head.lines]

    @property
    def plain(self) -> bool:
        """Tell whether nothing that came with the message is the gateway's own."""
        return self.head.plain and self.said.plain

    @property
    def gone(self) -> bool:
        """Tell whether the client is known to have closed the connection."""
        return self._gone

    @property
    def _address(self) -> str:
        peer = self.scope.get("client")
        return "" if peer is None else peer[0]

    def caller(self, era: str = "", client: ClientInfo | None = None, session: str | None = None) -> Caller:
        """Return who sent this, unverified."""
        said, head, address = self.said, self.head, self._address
        known = head.caller if said is head.said else None
        if (
            known is not None
            and known.client is client
            and known.session == session
            and known.era == era
            and known.address == address
        ):
            return known
        caller = Caller(
            credential=head.credential,
            transport="stdio" if head.over_stdio else "http",
            era=era,
            client=client or ClientInfo(),
            session=session,
            trace=_trace_id(said.meta.get("traceparent", self.headers.get("traceparent"))),
            loopback=address in LOOPBACK_PEERS,
            address=address,
        )
        if said is head.said:
            head.caller = caller
        return caller

    def agreed(self, request: RpcRequest) -> Caller | None:
        """Return who makes a call of which head and body were found to say the same, and that they say again."""
        agreed = self.head.agreed
        if agreed is None or agreed[0] is not self.said or request.method != TOOL_CALL:
            return None
        is_same = request.params.get("name") == self.head.calls and agreed[1].address == self._address
        return agreed[1] if is_same else None

    def goes_back(self, back: HttpBack) -> HttpBack:
        """Have the answer go back over `back`, behind what is said on it before; return it."""
        self._back = back
        return back

    def answered_now(self, body: Any) -> bool:
        """Send a result where that takes no waiting, and tell whether it was sent."""
        back = self._back
        if self.cycle is None or (back is not None and not back.is_whole()):
            return False
        raw = dump(body)
        return self.cycle.answer(200, JSON_LINES % len(raw), raw)

    async def answer(
        self,
        status: int,
        body: Any,
        headers: tuple[tuple[str, str], ...] = (),
        read: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Send the answer. Where it ends a stream, True, and `read` is awaited once the client has got that end."""
        if self._back is not None:
            return await self._back.answer(status, body, headers, read)
        await send_json(self.send, status, body, headers)
        return False

    def watch(self, *, until_gone: bool, stream_after_s: float = _STREAM_AFTER_S) -> None:
        """Look after the connection from now until `unwatch`, if that is long enough for it to be worth it.

        A client that goes has this task cancelled where `until_gone`; else its stream is kept for its return. One that
        waits for `stream_after_s`, and takes streams, is sent one, so that nothing on the way closes the connection.
        """
        if until_gone:
            self._ends = asyncio.current_task() if self.cycle is None else self.cycle.task
        self._stream_after_s = stream_after_s
        self._lookout.add(self)

    def unwatch(self) -> None:
        """Look after the connection no longer."""
        self._lookout.drop(self)
        if self.cycle is not None:
            self.cycle.on_gone = None
        elif self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # it knows how it was called off, and that knows this

    def explain(self) -> None:
        """Say why this task was cancelled, where the client would have it.

        Raises:
            ClientGone: nobody is there to answer.
            RpcError: the client called the request off.
        """
        task = asyncio.current_task()
        if task is not None and self._gone and self._ends is not None and task.uncancel() == 0:
            raise ClientGone from None
        if task is not None and self._back is not None and self._back.cancelled and task.uncancel() == 0:
            called_off = RpcError(_CALLED_OFF, "The client called the request off.", status=200)
            called_off.recorded = True
            raise called_off from None

    def look_after(self) -> float | None:
        """Look after the connection: this takes long."""
        if self.cycle is None:
            watching = self._watch(self._ends, self._stream_after_s)
            self._watcher = asyncio.get_running_loop().create_task(watching)
            return None
        if self.cycle.disconnected:
            self._end()
        else:
            self.cycle.on_gone = self._end
        return self._stream_after_s

    def _end(self) -> None:
        """The client has gone."""
        self._left()
        if self._ends is not None:
            self._ends.cancel()

    def lasts(self) -> None:
        """Send the client a stream, if it takes one."""
        if self._back is not None:
            self._back.stream()

    async def _watch(self, task: "asyncio.Task[Any] | None", stream_after_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(stream_after_s):
                await self.until_gone()
        if not self._gone:
            self.lasts()
            await self.until_gone()
        if task is not None:
            task.cancel()

    async def until_gone(self) -> None:
        """Wait until the client closes the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self._gone = True
        if self._back is not None:
            self._back.left()

    async def client_gone(self) -> bool:
        """Tell whether the connection is closed already, without waiting."""
        if self._gone:
            return True
        if self.cycle is not None:
            if self.cycle.disconnected:
                self._left()
            return self._gone
        look = asyncio.ensure_future(self.receive())
        await asyncio.sleep(0)
        if not look.done():
            look.cancel()
        elif look.result()["type"] == "http.disconnect":
            self._left()
        return self._gone


def _trace_id(traceparent: Any) -> str | None:
    """Return the trace id of a W3C traceparent (version-traceid-parentid-flags), or None."""
    if not isinstance(traceparent, str):
        return None
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() else None
