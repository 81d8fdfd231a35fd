"""Servers that are stopped while nobody uses them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from connectors.mcp.connection import Pace
from connectors.mcp.era import Protocol
from connectors.mcp.upstream import McpUpstream
from connectors.mcp.wire import Wire
from gateway.connector import Behalf, Surroundings, ToolCall

__all__ = ["RestingUpstream"]


class RestingUpstream(McpUpstream):
    """Stops its server when nobody has called it for `pace.rest_after_s`; the next call starts it again.

    While it rests its tools are those it last had: the call that starts it compares them. A server that somebody
    watches is not stopped.
    """

    def __init__(
        self, make: Callable[[bool, Behalf], Wire], protocol: Protocol, surroundings: Surroundings, pace: Pace
    ) -> None:
        super().__init__(make, protocol, surroundings, pace)
        self._after_s = pace.rest_after_s
        self._users = 0
        self._idle_from = 0.0
        self._watched: frozenset[str] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._rests = False

    async def open(self) -> None:
        with self._busy():
            await super().open()

    async def close(self) -> None:
        self._disarm()
        if self._stopping is not None:
            await asyncio.wait({self._stopping})
        await super().close()

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        with self._used():
            return await super().call(call)

    async def listed(self, method: str) -> Sequence[Mapping[str, Any]]:
        with self._used():
            return await super().listed(method)

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        known = self._shared.definitions
        if self._rests and known is not None:  # asked by a timer, which is nobody's use
            return list(known.values())
        with self._busy():
            return await super().tools()

    async def watch(self, uris: frozenset[str]) -> None:
        with self._used():
            await super().watch(uris)
            self._watched = uris

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._busy():
            try:
                yield
            finally:
                self._idle_from = asyncio.get_running_loop().time()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._users += 1
        self._rests = False
        self._disarm()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._arm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._idle_from, loop.time() - self._after_s) + self._after_s, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._watched:
            self._idle_from = asyncio.get_running_loop().time()
            self._arm()
        elif self._shared.live is not None:
            self._stopping = asyncio.ensure_future(self._shared.rest(self._goes_to_rest))

    def _goes_to_rest(self) -> bool:
        self._rests = not self._users
        return self._rests
