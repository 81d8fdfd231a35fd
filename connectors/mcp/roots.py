"""A client's roots have changed: its server is told, and may list them anew between the client's calls."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from connectors.mcp.connection import Connection
from connectors.mcp.talk import Talk
from connectors.mcp.wire import RpcError
from gateway.connector import Clock, ToolCall

__all__ = ["ROOTS", "told_of_change"]

ROOTS: Final = "roots/list"
_CHANGED: Final = "notifications/roots/list_changed"
_ASKS_WITHIN_S: Final = 5.0


async def told_of_change(connection: Connection, call: ToolCall, clock: Clock) -> bool:
    """Tell the server of one client that its roots changed, and put its question for them to the client.

    False where it cannot be told: it is gone, has lost the session, or is of an era without that notification.

    Raises:
        ConnectorFault: it did not take it.
    """
    era = connection.live
    if era is None or era.modern:
        return False
    listing = _Listing(call, clock)
    with connection.wire.standing(listing):
        try:
            await connection.wire.notify(_CHANGED, {}, era.headers(_CHANGED))
        except RpcError:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_ASKS_WITHIN_S):
                await listing.begun.wait()
        if listing.begun.is_set():
            await listing.answered.wait()
    return True


class _Listing(Talk):
    """Has the client list its roots, and hears nothing else."""

    def __init__(self, call: ToolCall, clock: Clock) -> None:
        super().__init__(call.back, clock, call.timeout_s, call.measure)
        self.begun = asyncio.Event()
        self.answered = asyncio.Event()

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        self._back.between().notify(method, params)

    def ask(self, question: Mapping[str, Any], reply: Callable[[bytes], Awaitable[None]]) -> bool:
        if question.get("method") != ROOTS or not super().ask(question, reply):
            return False
        self.begun.set()
        self.still_open[question["id"]].add_done_callback(lambda _: self.answered.set())
        return True
