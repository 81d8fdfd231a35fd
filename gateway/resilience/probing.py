"""Looks after the servers while nobody calls them, and puts on record when one goes down and comes back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.connector.about import UNSAID, About
from gateway.connector.pool import State, Upstreams
from gateway.connector.upstream import ToolCall
from gateway.model.clock import Clock, IdSource
from gateway.model.duration import milliseconds
from gateway.model.errors import StoreFault
from gateway.model.problem import Problem
from gateway.model.tool import Effect, Tool
from gateway.resilience.config import ProbeRule
from gateway.store.ports import EventKind, Record

__all__ = ["Book", "Probing", "Watched", "probe_problems"]

_LOG = logging.getLogger(__name__)
_UNTIL_ASKED_S: Final = 5.0
_APART_S: Final = 1.0
"""A server that comes and goes all the time is put on record at most so often."""


class Book(Protocol):
    """Where events are recorded."""

    def record(self, record: Record) -> Awaitable[None]:
        """Append an event."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """What is to be looked after now: the `probes:` section, what finds pinned tools, and who answers for a server."""

    probes: Callable[[], Mapping[str, ProbeRule]]
    find: Callable[[], Callable[[str], Tool | None]]
    about: Callable[[str], About] = lambda server: UNSAID


class Probing:
    """Probes every server for which a probe is declared, and tells of every change of a server's state."""

    def __init__(self, upstreams: Upstreams, watched: Watched, book: Book, clock: Clock, ids: IdSource) -> None:
        self._upstreams = upstreams
        self._watched = watched
        self._book = book
        self._clock = clock
        self._ids = ids
        self._changed = asyncio.Event()
        self._told: dict[str, State] = {}

    async def watch(self) -> None:
        """Look after the servers that are there now, until cancelled."""
        self._upstreams.on_change(self._changed.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            for server in self._upstreams.names():
                group.create_task(self._look_after(server))

    async def _look_after(self, server: str) -> None:
        while True:
            rule = _rule_of(self._watched.probes(), server)
            await self._clock.sleep(_UNTIL_ASKED_S if rule is None else milliseconds(rule.every) / 1000)
            rule = _rule_of(self._watched.probes(), server)
            if rule is None:
                continue
            tool = self._watched.find()(rule.call) if rule.call is not None else None
            if rule.call is None:
                await self._upstreams.get(server).probe(None, rule.timeout_s)
            elif tool is not None and not _wrong(tool, rule):  # else its server has not answered yet, or offers another
                asked = ToolCall(tool.upstream_name, rule.arguments, self._ids.new("probe"), rule.timeout_s)
                await self._upstreams.get(server).probe(asked, rule.timeout_s)

    async def _tell(self) -> None:
        """Put on record that servers went down and came back; that one came up at first is no news."""
        while True:
            for server, health in self._upstreams.health().items():
                before = self._told.get(server, State.OPENING)
                if health.state is before or health.state is State.OPENING:
                    continue
                is_news = before is not State.OPENING or health.state is State.DOWN
                if not is_news or await self._recorded(server, health.state, health.error):
                    self._told[server] = health.state
            await self._clock.sleep(_APART_S)
            await self._changed.wait()
            self._changed.clear()

    async def _recorded(self, server: str, state: State, error: str) -> bool:
        about = self._watched.about(server)
        level, words = (logging.ERROR, about.words()) if state is State.DOWN else (logging.WARNING, "")
        _LOG.log(level, "server %s is %s %s%s", server, state, error, f" ({words})" if words else "")
        body: dict[str, Any] = {"what": f"server {state}", "server": server}
        body |= {"reason": error} if error else {}
        body |= {"about": told} if (told := about.told()) else {}
        try:
            await self._book.record(Record("", self._clock.now_ms(), "", "", "", "", body, EventKind.ADMIN))
        except StoreFault as fault:
            _LOG.error("that server %s is %s is not on record yet: %s", server, state, fault.message)
            self._changed.set()
            return False
        return True


def probe_problems(probes: Mapping[str, ProbeRule], find: Callable[[str], Tool | None]) -> Iterator[Problem]:
    """Yield what is wrong with the calls that probes make, as far as their tools are known."""
    for server, rule in probes.items():
        tool = None if rule.call is None else find(rule.call)
        if tool is not None and (wrong := _wrong(tool, rule)):
            yield Problem("probes", 0, 0, "probe", f"the probe of {server} cannot call {tool.name}: {wrong}")


def _wrong(tool: Tool, rule: ProbeRule) -> str:
    if tool.effect is not Effect.READ:
        return f"it has the effect {tool.effect}; a probe must be a read"
    return tool.quarantined or tool.breaks_input(rule.arguments)


def _rule_of(probes: Mapping[str, ProbeRule], server: str) -> ProbeRule | None:
    return probes.get(server) or probes.get("*")
