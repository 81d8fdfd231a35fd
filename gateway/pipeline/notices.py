"""News of the servers for those who asked for it: lists that changed, resources that were updated."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.codec import dump
from gateway.connector.pool import TOOLS_CHANGED, Upstreams
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault, GatewayError, LimitFault
from gateway.model.identity import Credential, Identity, principal_of
from gateway.model.request import Caller
from gateway.pipeline.directory import Directory, Place
from gateway.pipeline.elicited import COMPLETE, Elicited
from gateway.pipeline.listing import Listing
from gateway.pipeline.polling import Held
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.tasks import Tasks
from gateway.policy import Outlook, may

__all__ = ["LIST_CHANGED", "UPDATED", "Notices", "Subscriber"]

_LOG = logging.getLogger(__name__)
_SETTLE_S: Final = 0.1
_RECHECK_S: Final = 0.5
_MOST: Final = 10_000
_MOST_EACH: Final = _MOST // 2
"""Of one agent: it alone cannot take every stream there is."""

_AT_ONCE: Final = 100
_MOST_SAID: Final = 4096
"""Bytes of what a server says with an update; of more, only which resource it is of."""

UPDATED: Final = "notifications/resources/updated"
LIST_CHANGED: Final = {
    "tools": TOOLS_CHANGED,
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}
"""The notification of each list."""

_TASK_NEWS: Final = frozenset({"notifications/tasks/status", "notifications/tasks"})
_ACTS: Final = {"prompts": "prompts/get", "resources": "resources/read"}
_LISTS: Final = {method: name for name, method in LIST_CHANGED.items()}


@dataclass(slots=True, eq=False)
class Subscriber:
    """Somebody who hears news: `lists` it wants news of, and resources by the URI it knows them by.

    `seen` is what it could see of each list when that was last looked at. `tasks` hears how its principal's tasks at
    its endpoint stand. `over` is done once it is to hear no more.
    """

    caller: Caller
    identity: Identity
    endpoint: str
    lists: frozenset[str]
    tell: Callable[[str, Mapping[str, Any]], None]
    resources: dict[str, Place] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    tasks: Callable[[Held], None] | None = None
    over: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self) -> None:
        """Have it hear no more."""
        if not self.over.done():
            self.over.set_result(None)


@dataclass(frozen=True, slots=True)
class _Known:
    """Who knows what a server's notification is about."""

    elicited: Elicited
    tasks: Tasks


class Notices:
    """Passes news on, gathered: a server that changes its list a hundred times a second is told of a few times.

    Nobody hears of a server that its endpoint does not show, nor of what no policy lets it use.
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
        self._updated: dict[Place, Mapping[str, Any]] = {}
        self._watching: dict[str, asyncio.Lock] = {}
        self._watched: dict[str, frozenset[str]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def join(self, subscriber: Subscriber, instead_of: Subscriber | None = None) -> None:
        """Tell `subscriber` from now on, of the same resources as the one in whose place it comes.

        Raises:
            LimitFault: too many are told already, or the gateway stops.
        """
        if self._stopped or len(self._subscribers) >= _MOST:
            raise LimitFault("There are too many open streams, or the gateway stops.", retry_after_s=5.0)
        if instead_of is None and self._has_its_share(subscriber.identity.agent):
            raise LimitFault(f"An agent has at most {_MOST_EACH} open streams.", retry_after_s=5.0)
        if instead_of is not None:
            self._subscribers.discard(instead_of)
            subscriber.resources.update(instead_of.resources)
            instead_of.end()
        for name in subscriber.lists:
            subscriber.seen[name] = self._visible(subscriber, name)
        self._subscribers.add(subscriber)

    def _has_its_share(self, agent: str) -> bool:
        if len(self._subscribers) < _MOST_EACH:
            return False
        return sum(each.identity.agent == agent for each in self._subscribers) >= _MOST_EACH

    async def leave(self, subscriber: Subscriber) -> None:
        """Tell it no more."""
        subscriber.end()
        if subscriber in self._subscribers:
            self._subscribers.discard(subscriber)
            await self._watch({place.server for place in subscriber.resources.values()})

    async def add(self, subscriber: Subscriber, resources: Mapping[str, Place]) -> None:
        """Tell it of more resources."""
        subscriber.resources.update(resources)
        await self._watch({place.server for place in resources.values()})

    async def drop(self, subscriber: Subscriber, uri: str) -> None:
        """Tell it of one resource less."""
        place = subscriber.resources.pop(uri, None)
        if place is not None:
            await self._watch({place.server})

    async def while_open(
        self, subscriber: Subscriber, ends: "set[asyncio.Future[Any]]", patience_s: float | None = None
    ) -> None:
        """Wait until one of `ends` is done, the gateway stops, its caller is known no more, or `patience_s` passed."""
        await asyncio.wait({subscriber.over, *ends}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)

    def stop(self) -> None:
        """End every stream of news, and let none begin."""
        self._stopped = True
        for subscriber in self._subscribers:
            subscriber.end()

    async def recheck(self) -> None:
        """End the streams of those who are known no more, or whose endpoint is no longer there for them."""
        known: dict[tuple[Credential, bool], Identity | None] = {}
        for number, subscriber in enumerate(list(self._subscribers), 1):
            caller = subscriber.caller
            key = caller.credential, caller.loopback
            if key not in known:
                known[key] = await self._listing.known(caller)
            identity = known[key]
            if identity is None or not self._rules.current.admits(subscriber.endpoint, identity):
                subscriber.end()
            else:
                subscriber.identity = identity
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _watch(self, servers: set[str]) -> None:
        """Have each of these servers tell of exactly the resources that somebody wants news of."""
        for server in servers:
            async with self._watching.setdefault(server, asyncio.Lock()):
                wanted = frozenset(
                    place.name
                    for subscriber in self._subscribers
                    for place in subscriber.resources.values()
                    if place.server == server
                )
                if wanted == self._watched.get(server, frozenset()):
                    continue
                self._watched[server] = wanted
                try:
                    await self._upstreams.get(server).watch(wanted)
                except ConnectorFault as fault:
                    del self._watched[server]  # whoever comes next has it tried again
                    _LOG.warning("%s does not tell of its resources: %s", server, fault.message)

    def listen(self, elicited: Elicited, tasks: Tasks) -> None:
        """Hear every server, and of every task, from now on; `elicited` knows whom a server sent to a page."""
        tasks.told = self._task_changed
        for name in self._upstreams.names():
            self._upstreams.get(name).on_notice(partial(self._heard, name, _Known(elicited, tasks)))

    def rules_changed(self) -> None:
        """Take note that other rules are in force, under which every list may be another one."""
        self._changed.update((name, "") for name in LIST_CHANGED)
        self._news.set()

    def tools_changed(self) -> None:
        """Take note that other tools may be open to somebody, under the same rules."""
        self._changed.add(("tools", ""))
        self._news.set()

    async def run(self) -> None:
        """Pass news on, and look whom it is still for, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pass_on())
            tasks.create_task(self._keep_rechecking())

    async def _keep_rechecking(self) -> None:
        while True:
            await asyncio.sleep(_RECHECK_S)
            await self.recheck()

    async def _pass_on(self) -> None:
        while True:
            await self._news.wait()
            await self._clock.sleep(_SETTLE_S)
            self._news.clear()
            changed, self._changed = self._changed, set()
            updated, self._updated = self._updated, {}
            for number, subscriber in enumerate(list(self._subscribers), 1):
                self._tell(subscriber, changed, updated)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _heard(self, server: str, known: _Known, method: str, params: Mapping[str, Any]) -> None:
        if method in _LISTS and method != TOOLS_CHANGED:  # changed tools are news once the catalog has them
            self._directory.forget(server)
            self._changed.add((_LISTS[method], server))
            self._news.set()
        elif method == UPDATED and isinstance(params.get("uri"), str):
            said = params if len(dump(params)) <= _MOST_SAID else {}
            self._updated[Place(server, params["uri"])] = known.elicited.shown(said)
            self._news.set()
        elif method == COMPLETE:
            session, shown = known.elicited.completed(server, params)
            self.completed(frozenset({session}), shown)
        elif method in _TASK_NEWS:
            known.tasks.news_of(server, params.get("taskId"))

    def completed(self, sessions: frozenset[str], about: Mapping[str, Any]) -> None:
        """Tell client sessions that the page is done which they were sent to."""
        for subscriber in self._subscribers:
            if subscriber.caller.session and subscriber.caller.session in sessions:
                subscriber.tell(COMPLETE, about)

    def _task_changed(self, held: Held) -> None:
        place = held.record.owner, held.record.body["endpoint"]
        for subscriber in list(self._subscribers):
            if subscriber.tasks is not None and (principal_of(subscriber.identity), subscriber.endpoint) == place:
                subscriber.tasks(held)

    def _tell(
        self, subscriber: Subscriber, changed: set[tuple[str, str]], updated: Mapping[Place, Mapping[str, Any]]
    ) -> None:
        for name in sorted(subscriber.lists.intersection(name for name, _ in changed)):
            servers = {server for changed_name, server in changed if changed_name == name}
            sees_others = "" in servers and self._sees_others(subscriber, name)
            if sees_others or self._sees_one(subscriber, name, servers - {""}):
                subscriber.tell(LIST_CHANGED[name], {})
        for uri, place in subscriber.resources.items():
            if place in updated and self._may(subscriber, "resources/subscribe", place.server, place.name):
                subscriber.tell(UPDATED, {**updated[place], "uri": uri})

    def _sees_one(self, subscriber: Subscriber, name: str, servers: Iterable[str]) -> bool:
        shown = self._rules.current.servers_at(subscriber.endpoint)
        return any(
            (shown is None or server in shown) and self._may(subscriber, _ACTS[name], server, None)
            for server in servers
        )

    def _may(self, subscriber: Subscriber, method: str, server: str, name: str | None) -> bool:
        return may(self._rules.current.bundle, subscriber.identity, method, server, name) is not Outlook.NEVER

    def _sees_others(self, subscriber: Subscriber, name: str) -> bool:
        before, subscriber.seen[name] = subscriber.seen[name], self._visible(subscriber, name)
        return bool(before != subscriber.seen[name])

    def _visible(self, subscriber: Subscriber, name: str) -> Any:
        if name != "tools":
            return self._directory.prospect(name, subscriber.identity, subscriber.endpoint)
        try:
            return self._listing.tools(subscriber.identity, subscriber.endpoint)
        except GatewayError:  # not now: whatever it is, there is something new to ask for
            return None
