"""News of the servers for those who asked for it: lists that changed, resources that were updated."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.connector.pool import TOOLS_CHANGED, Upstreams
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault, GatewayError
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.pipeline.directory import Directory, Place
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import RulesInForce

__all__ = ["LIST_CHANGED", "UPDATED", "Notices", "Subscriber"]

_LOG = logging.getLogger(__name__)
_SETTLE_S: Final = 0.1
_RECHECK_S: Final = 0.9
UPDATED: Final = "notifications/resources/updated"
LIST_CHANGED: Final = {
    "tools": TOOLS_CHANGED,
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}
"""The notification of each list."""

_LISTS: Final = {method: name for name, method in LIST_CHANGED.items()}


@dataclass(slots=True, eq=False)
class Subscriber:
    """Somebody who hears news: `lists` it wants news of, and resources by the URI it knows them by."""

    identity: Identity
    endpoint: str
    lists: frozenset[str]
    tell: Callable[[str, Mapping[str, Any]], None]
    resources: dict[str, Place] = field(default_factory=dict)
    tools: Any = None


class Notices:
    """Passes news on, gathered: a server that changes its list a hundred times a second is told of a few times.

    Nobody hears of a server that its endpoint does not show, nor of tools that it may not see.
    """

    def __init__(
        self, upstreams: Upstreams, rules: RulesInForce, listing: Listing, directory: Directory, clock: Clock
    ) -> None:
        self._upstreams = upstreams
        self._rules = rules
        self._listing = listing
        self._directory = directory
        self._clock = clock
        self._subscribers: set[Subscriber] = set()
        self._news = asyncio.Event()
        self._changed: set[tuple[str, str]] = set()
        self._updated: set[Place] = set()
        self._stopped = asyncio.Event()

    def __len__(self) -> int:
        return len(self._subscribers)

    async def join(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` from now on."""
        if "tools" in subscriber.lists:
            subscriber.tools = self._visible_tools(subscriber)
        self._subscribers.add(subscriber)
        await self.watch({place.server for place in subscriber.resources.values()})

    async def leave(self, subscriber: Subscriber) -> None:
        """Tell it no more."""
        self._subscribers.discard(subscriber)
        await self.watch({place.server for place in subscriber.resources.values()})

    async def add(self, subscriber: Subscriber, uri: str, place: Place) -> None:
        """Tell it of one more resource."""
        subscriber.resources[uri] = place
        await self.watch({place.server})

    async def drop(self, subscriber: Subscriber, uri: str) -> None:
        """Tell it of one resource less."""
        place = subscriber.resources.pop(uri, None)
        if place is not None:
            await self.watch({place.server})

    async def while_open(self, caller: Caller, ends: "set[asyncio.Future[Any]]") -> None:
        """Wait until one of `ends` is done, the gateway stops, or the caller is known no more."""
        while not self._stopped.is_set():
            done, _ = await asyncio.wait(ends, timeout=_RECHECK_S, return_when=asyncio.FIRST_COMPLETED)
            if done or not await self._listing.knows(caller):
                return

    def stop(self) -> None:
        """End every stream of news soon."""
        self._stopped.set()

    async def watch(self, servers: set[str]) -> None:
        """Have each of these servers tell of exactly the resources that somebody wants news of."""
        for server in servers:
            wanted = frozenset(
                place.name
                for subscriber in self._subscribers
                for place in subscriber.resources.values()
                if place.server == server
            )
            try:
                await self._upstreams.get(server).watch(wanted)
            except ConnectorFault as fault:
                _LOG.warning("%s does not tell of its resources: %s", server, fault.message)

    def listen(self) -> None:
        """Hear every server from now on."""
        for name in self._upstreams.names():
            self._upstreams.get(name).on_notice(partial(self._heard, name))

    def tools_changed(self) -> None:
        """Take note that other rules are in force."""
        self._changed.add(("tools", ""))
        self._news.set()

    async def run(self) -> None:
        """Pass news on until cancelled."""
        while True:
            await self._news.wait()
            await self._clock.sleep(_SETTLE_S)
            self._news.clear()
            changed, self._changed = self._changed, set()
            updated, self._updated = self._updated, set()
            for subscriber in list(self._subscribers):
                self._tell(subscriber, changed, updated)

    def _heard(self, server: str, method: str, params: Mapping[str, Any]) -> None:
        if method in _LISTS and method != TOOLS_CHANGED:  # changed tools are news once the catalog has them
            self._directory.forget(server)
            self._changed.add((_LISTS[method], server))
            self._news.set()
        elif method == UPDATED and isinstance(params.get("uri"), str):
            self._updated.add(Place(server, params["uri"]))
            self._news.set()

    def _tell(self, subscriber: Subscriber, changed: set[tuple[str, str]], updated: set[Place]) -> None:
        servers = self._rules.current.servers_at(subscriber.endpoint)
        for name in sorted({name for name, server in changed if not server or servers is None or server in servers}):
            if name in subscriber.lists and (name != "tools" or self._sees_other_tools(subscriber)):
                subscriber.tell(LIST_CHANGED[name], {})
        for uri, place in subscriber.resources.items():
            if place in updated:
                subscriber.tell(UPDATED, {"uri": uri})

    def _sees_other_tools(self, subscriber: Subscriber) -> bool:
        before, subscriber.tools = subscriber.tools, self._visible_tools(subscriber)
        return bool(before != subscriber.tools)

    def _visible_tools(self, subscriber: Subscriber) -> Any:
        try:
            return self._listing.tools(subscriber.identity, subscriber.endpoint)
        except GatewayError:  # not now: whatever it is, there is something new to ask for
            return None
