"""Reading a server's whole list of something, however it is paged, and never without end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from connectors.mcp.era import Era
from connectors.mcp.wire import Wire
from gateway.connector import Clock, ConnectorFault, TimedOut, dump

__all__ = ["LISTS", "TOOLS_LIST", "list_all"]

TOOLS_LIST: Final = "tools/list"
_MAX_PAGES: Final = 100
_MAX_ENTRIES: Final = 10_000
_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _List:
    """What one list is of: the capability that offers it, the member its entries are in, and what each is known by."""

    capability: str
    member: str
    key: str
    word: str


LISTS: Final[Mapping[str, _List]] = MappingProxyType(
    {
        TOOLS_LIST: _List("tools", "tools", "name", "tool"),
        "prompts/list": _List("prompts", "prompts", "name", "prompt"),
        "resources/list": _List("resources", "resources", "uri", "resource"),
        "resources/templates/list": _List("resources", "resourceTemplates", "uriTemplate", "resource template"),
    }
)
"""Every method that lists something of a server."""


async def list_all(method: str, wire: Wire, era: Era, clock: Clock, timeout_s: float) -> Sequence[Mapping[str, Any]]:
    """Return every entry of one of `LISTS`, unchanged, in the server's order.

    Raises:
        ConnectorFault: `contract_broken` for a list without end or out of shape, else what the wire met.
        RpcError: the server refuses to list.
    """
    kind = LISTS[method]
    ends = clock.monotonic() + timeout_s
    found: list[Mapping[str, Any]] = []
    cursors: set[str] = set()
    size = 0
    params: dict[str, Any] = {}
    for _ in range(_MAX_PAGES):
        left = ends - clock.monotonic()
        if left <= 0:
            raise TimedOut(f"The server did not list its {kind.word}s in time.")
        page = await wire.request(method, era.params(params, {}), era.headers(method), left)
        found.extend(_entries(page, kind))
        size += len(dump(page))
        if size > _MAX_BYTES or len(found) > _MAX_ENTRIES:
            raise _endless(kind, f"is too large (limits: {_MAX_ENTRIES:,} {kind.word}s, {_MAX_BYTES >> 20} MiB)")
        cursor = page.get("nextCursor")
        if cursor is None:
            return found
        if not isinstance(cursor, str) or cursor in cursors:
            raise _endless(kind, "goes round in circles")
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise _endless(kind, f"has more than {_MAX_PAGES} pages")


def _entries(page: Any, kind: _List) -> Sequence[Mapping[str, Any]]:
    entries = page.get(kind.member) if isinstance(page, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(each, dict) and isinstance(each.get(kind.key), str) for each in entries
    ):
        raise ConnectorFault(f"The server's {kind.word} list is out of shape.", code="contract_broken")
    return entries


def _endless(kind: _List, why: str) -> ConnectorFault:
    return ConnectorFault(f"The server's {kind.word} list {why}.", code="contract_broken")
