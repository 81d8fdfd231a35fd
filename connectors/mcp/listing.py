"""Reading a server's whole tool list, however it is paged, and never without end."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors.mcp.era import Era
from connectors.mcp.wire import Wire
from gateway.connector import Clock, ConnectorFault, TimedOut, dump

__all__ = ["list_tools"]

_MAX_PAGES: Final = 100
_MAX_TOOLS: Final = 10_000
_MAX_BYTES: Final = 16 * 1024 * 1024


async def list_tools(wire: Wire, era: Era, clock: Clock, timeout_s: float) -> Sequence[Mapping[str, Any]]:
    """Return every tool definition, unchanged, in the server's order.

    Raises:
        ConnectorFault: `contract_broken` for a list without end or out of shape, else what the wire met.
        RpcError: the server refuses to list.
    """
    ends = clock.monotonic() + timeout_s
    found: list[Mapping[str, Any]] = []
    cursors: set[str] = set()
    size = 0
    params: dict[str, Any] = {}
    for _ in range(_MAX_PAGES):
        left = ends - clock.monotonic()
        if left <= 0:
            raise TimedOut("The server did not list its tools in time.")
        page = await wire.request("tools/list", era.params(params, {}), era.headers("tools/list"), left)
        found.extend(_definitions(page))
        size += len(dump(page))
        if size > _MAX_BYTES or len(found) > _MAX_TOOLS:
            raise _endless("is too large")
        cursor = page.get("nextCursor")
        if cursor is None:
            return found
        if not isinstance(cursor, str) or cursor in cursors:
            raise _endless("goes round in circles")
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise _endless(f"has more than {_MAX_PAGES} pages")


def _definitions(page: Any) -> Sequence[Mapping[str, Any]]:
    tools = page.get("tools") if isinstance(page, dict) else None
    if not isinstance(tools, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in tools
    ):
        raise ConnectorFault("The server's tool list is out of shape.", code="contract_broken")
    return tools


def _endless(why: str) -> ConnectorFault:
    return ConnectorFault(f"The server's tool list {why}.", code="contract_broken")
