"""One `subscriptions/listen` stream of a modern server."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from connectors.mcp.ears import ACKNOWLEDGED
from connectors.mcp.era import Era
from connectors.mcp.wire import Ear, Wire
from gateway.connector import Rejected, TimedOut, Unavailable

__all__ = ["Subscription"]

_LISTEN: Final = "subscriptions/listen"
_FOREVER_S: Final = 86_400.0


class Subscription(Ear):
    """Open from the server's acknowledgement until either side ends it; `ended()` is called then, unless by `close`."""

    endless = True
    listens = True

    def __init__(self, uris: frozenset[str], ended: Callable[[], None]) -> None:
        self.uris: Final = uris
        self._ended = ended
        self._acknowledged: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None

    @property
    def alive(self) -> bool:
        """Tell whether the stream is open, or being opened."""
        return self._task is not None and not self._task.done()

    async def open(self, wire: Wire, era: Era, timeout_s: float) -> None:
        """Open the stream.

        Raises:
            RpcError, ConnectorFault: the server refuses, or cannot.
        """
        wanted: dict[str, Any] = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
        if self.uris:
            wanted["resourceSubscriptions"] = sorted(self.uris)
        params = era.params({"notifications": wanted}, {})
        self._task = asyncio.ensure_future(wire.request(_LISTEN, params, era.headers(_LISTEN), _FOREVER_S, self))
        opened = False
        try:
            waiting = {self._task, self._acknowledged}
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                self._task.result()
                raise Unavailable("The server ended the subscription at once.")
            self._check()
            opened = True
        finally:
            if opened:
                self._task.add_done_callback(self._over)
            else:
                await self.close()

    async def close(self) -> None:
        """End the stream; never raises."""
        task = self._task
        if task is not None:
            task.remove_done_callback(self._over)
            task.cancel()
            await asyncio.wait({task})
            _see(task)

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        if method == ACKNOWLEDGED and not self._acknowledged.done():
            self._acknowledged.set_result(params)

    def _check(self) -> None:
        if not self._acknowledged.done():
            raise TimedOut("The server did not acknowledge the subscription in time.")
        granted = self._acknowledged.result().get("notifications")
        if self.uris and not (isinstance(granted, dict) and granted.get("resourceSubscriptions")):
            raise Rejected("The server does not tell of updates of these resources.")

    def _over(self, task: asyncio.Task[Any]) -> None:
        _see(task)
        self._ended()


def _see(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
