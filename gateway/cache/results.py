"""Answers of reads, given again for as long as they are declared to be good.

Kept in memory only: a restart starts empty. What is kept is what the server answered, before anything was taken out of
it; every answer given from here is checked and redacted for the call that it is given to.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gateway.codec import CodecError, dump
from gateway.model.answers import CacheScope, Caching, Source
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.identity import Identity
from gateway.model.tool import Tool

__all__ = ["Bounds", "Fetch", "Fetched", "ResultCache", "Told"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: answers, bytes of one, bytes of all (as JSON)."""

    answers: int = 10_000
    bytes_each: int = 1024 * 1024
    bytes_all: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server answered. `shared` tells whether it is an answer for others too, `kept` whether for later."""

    result: Mapping[str, Any] = field(repr=False)
    shared: bool = True
    kept: bool = True


Fetch = Callable[[], Awaitable[Fetched]]
"""Asks the server. Whatever it raises, those who wait for the same answer raise too."""

_Key = tuple[str, str, tuple[str, ...], str, str]
"""Tool, digest of its schema, whom the answer is for, digests of its arguments (canonical) and of what else is told."""

Told = Callable[[Call], str]
"""Returns what else a call's server is told that may make its answer another one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    result: Mapping[str, Any]
    call_id: str
    asked_ms: int
    size: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A question that was put to the server and is not answered yet."""

    call_id: str
    asked_ms: int
    generation: int
    landed: "asyncio.Future[Fetched | None]"


@dataclass(slots=True)
class _Shelf:
    """What is kept of one tool. `generation` counts the writes that may have changed what it reads."""

    server: str
    caching: Caching
    generation: int = 0
    keys: set[_Key] = field(default_factory=set)
    flights: dict[_Key, _Flight] = field(default_factory=dict)


class ResultCache:
    """Gives answers again, each to whom it may be given. What is not used for longest makes room."""

    def __init__(self, clock: Clock, told: Told, bounds: Bounds | None = None) -> None:
        self._clock = clock
        self._told = told
        self._bounds = bounds or Bounds()
        self._answers: OrderedDict[_Key, _Answer] = OrderedDict()
        self._bytes = 0
        self._shelves: dict[str, _Shelf] = {}

    def __len__(self) -> int:
        return len(self._answers)

    async def read(self, call: Call, caching: Caching, fetch: Fetch) -> tuple[Mapping[str, Any], Source | None]:
        """Return an answer for a call that was decided already, and its source unless `fetch` got it for this call.

        Of calls at the same time that ask the same, one fetches; the others are given its answer, or its fault. When
        its caller goes away, the next one fetches.
        """
        shelf = self._shelf(call.tool, caching)
        key = self._key(call, caching)
        while caching.ttl_ms:
            kept = self._kept(key, caching.ttl_ms)
            if kept is not None:
                return kept.result, self._source(kept.call_id, kept.asked_ms)
            flight = shelf.flights.get(key)
            if flight is None or flight.generation != shelf.generation:
                return await self._fetched(call, key, shelf, fetch), None
            found = await asyncio.shield(flight.landed)
            if found is not None:
                return found.result, self._source(flight.call_id, flight.asked_ms)
        return await self._fetched(call, key, shelf, fetch), None

    def last(self, call: Call, caching: Caching, within_ms: int) -> tuple[Mapping[str, Any], Source] | None:
        """Return the last answer that such a call was given, if it is no older than `within_ms`."""
        self._shelf(call.tool, caching)
        kept = self._kept(self._key(call, caching), within_ms)
        return None if kept is None else (kept.result, self._source(kept.call_id, kept.asked_ms))

    def wrote(self, tool: Tool) -> None:
        """Forget what a call of `tool` may change; to be told before it is sent, and again when it has ended."""
        for shelf in self._shelves.values():
            if _changes(tool, shelf):
                self._clear(shelf)

    def _shelf(self, tool: Tool, caching: Caching) -> _Shelf:
        shelf = self._shelves.get(tool.name)
        if shelf is None:
            shelf = self._shelves[tool.name] = _Shelf(tool.server, caching)
        elif shelf.caching != caching:  # what was kept was kept under other terms
            self._clear(shelf)
            shelf.caching = caching
        return shelf

    def _kept(self, key: _Key, within_ms: int) -> _Answer | None:
        kept = self._answers.get(key)
        if kept is None or not 0 <= self._clock.now_ms() - kept.asked_ms < within_ms:  # below 0: the clock was set back
            return None
        self._answers.move_to_end(key)
        return kept

    async def _fetched(self, call: Call, key: _Key, shelf: _Shelf, fetch: Fetch) -> Mapping[str, Any]:
        landed: asyncio.Future[Fetched | None] = asyncio.get_running_loop().create_future()
        flight = shelf.flights[key] = _Flight(call.id, self._clock.now_ms(), shelf.generation, landed)
        try:
            found = await fetch()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                landed.set_result(None)
            else:
                landed.set_exception(error)
                landed.exception()  # nobody may be waiting for it
            raise
        finally:
            if shelf.flights.get(key) is flight:
                del shelf.flights[key]
        landed.set_result(found if found.shared else None)
        if found.kept and flight.generation == shelf.generation:
            self._keep(key, shelf, found.result, flight)
        return found.result

    def _keep(self, key: _Key, shelf: _Shelf, result: Mapping[str, Any], flight: _Flight) -> None:
        try:
            size = len(dump(result))
        except CodecError:
            return
        if size > self._bounds.bytes_each:
            return
        self._drop(key)
        self._answers[key] = _Answer(result, flight.call_id, flight.asked_ms, size)
        self._bytes += size
        shelf.keys.add(key)
        while len(self._answers) > self._bounds.answers or self._bytes > self._bounds.bytes_all:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: _Key) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size
            self._shelves[key[0]].keys.discard(key)

    def _clear(self, shelf: _Shelf) -> None:
        shelf.generation += 1
        for key in list(shelf.keys):
            self._drop(key)

    def _key(self, call: Call, caching: Caching) -> _Key:
        audience = _audience(call.identity, caching.scope)
        return call.tool.name, call.tool.digest, audience, call.arguments_digest, self._told(call)

    def _source(self, call_id: str, asked_ms: int) -> Source:
        return Source(call_id, max(self._clock.now_ms() - asked_ms, 0))


def _audience(identity: Identity, scope: CacheScope) -> tuple[str, ...]:
    """Return whom an answer is for: what a credential of fewer scopes would be given may be another one."""
    if scope is CacheScope.EVERYBODY:
        return ()
    user = identity.on_behalf_of
    if user is None:
        return ("agent", identity.agent, *identity.scopes)
    whose = (identity.issuer, user, *identity.scopes)
    return ("user", *whose) if scope is CacheScope.USER else ("agent", identity.agent, "user", *whose)


def _changes(tool: Tool, shelf: _Shelf) -> bool:
    patterns = shelf.caching.invalidated_by
    if patterns is None:
        return tool.server == shelf.server
    return any(fnmatchcase(tool.name, pattern) for pattern in patterns)
