"""One POST: what came in, who sent it, and the way back."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from gateway.model.identity import ClientInfo, Credential
from gateway.model.request import Caller
from gateway.transport.kernel import Answer
from gateway.transport.wire import ClientGone, RpcRequest

__all__ = ["LOOPBACK_PEERS", "Exchange", "client_info"]

_WATCH_AFTER_S: Final = 0.05
LOOPBACK_PEERS: Final = frozenset({"127.0.0.1", "::1"})


class Exchange:
    """A request on its connection. `request` is None where the method has no body."""

    __slots__ = ("_gone", "headers", "over_stdio", "receive", "request", "scope", "send")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str], request: RpcRequest | None
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers = headers
        self.request = request
        self.over_stdio = headers.get("toolgate-transport") == "stdio"
        self._gone = False

    def header_lines(self) -> list[tuple[str, str]]:
        """Return the headers as they came, repeated ones too."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.scope["headers"]]

    @property
    def meta(self) -> Mapping[str, Any]:
        """`params._meta`, or an empty object."""
        meta = self.request.params.get("_meta") if self.request is not None else None
        return meta if isinstance(meta, dict) else {}

    def caller(self, era: str = "", client: ClientInfo | None = None, session: str | None = None) -> Caller:
        """Return who sent this, unverified."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer" and value.strip() != ""
        peer = self.scope.get("client")
        return Caller(
            credential=Credential("bearer", value.strip()) if bearer else Credential("none", ""),
            transport="stdio" if self.over_stdio else "http",
            era=era,
            client=client or ClientInfo(),
            session=session,
            trace=_trace_id(self.meta.get("traceparent", self.headers.get("traceparent"))),
            loopback=peer is not None and peer[0] in LOOPBACK_PEERS,
        )

    async def watched(self, work: Awaitable[Answer]) -> Answer:
        """Await `work`; cancel it once the client has gone, if it takes long enough to be worth looking.

        Raises:
            ClientGone: nobody is there to answer.
        """
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []
        timer = loop.call_later(_WATCH_AFTER_S, lambda: watchers.append(loop.create_task(self._cancel_when_gone(task))))
        try:
            return await work
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            timer.cancel()
            for watcher in watchers:
                watcher.cancel()

    async def _cancel_when_gone(self, task: asyncio.Task[Any]) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        task.cancel()

    async def client_gone(self) -> bool:
        """Tell whether the connection is closed already, without waiting."""
        look = asyncio.ensure_future(self.receive())
        await asyncio.sleep(0)
        if look.done():
            return bool(look.result()["type"] == "http.disconnect")
        look.cancel()
        return False


def client_info(said: Any) -> ClientInfo:
    """Return what a client says of itself, bounded."""
    if not isinstance(said, dict):
        return ClientInfo()
    return ClientInfo(str(said.get("name", ""))[:100], str(said.get("version", ""))[:50])


def _trace_id(traceparent: Any) -> str | None:
    """Return the trace id of a W3C traceparent (version-traceid-parentid-flags), or None."""
    if not isinstance(traceparent, str):
        return None
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() else None
