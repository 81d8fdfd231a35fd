"""All upstreams of the gateway: opened side by side, healed in the background, none waiting for another."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from gateway.connector.credential import Behalf
from gateway.connector.faults import Confined
from gateway.connector.plugin import Surroundings
from gateway.connector.upstream import Begun, Definitions, Notice, Offer, ToolCall, ToolTraits, Upstream
from gateway.model.errors import ConnectorFault

__all__ = ["TOOLS_CHANGED", "Health", "PoolPace", "Probed", "State", "Supervised", "Upstreams"]


TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_T = TypeVar("_T")


class State(StrEnum):
    """Whether a server can be used: not tried yet, in use, or known to fail."""

    OPENING = "opening"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Health:
    """How one server stands. `since_ms` is Unix time; `error` is what it last said of itself, fit for an operator."""

    state: State
    since_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of the last probe of a server: when (Unix time), how long it took, and what was wrong, or nothing."""

    at_ms: int
    took_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class PoolPace:
    """Times in seconds.

    `open_s` is how long `open` waits for a server, `attempt_s` how long one opening may take in the background,
    `list_s` and `close_s` what one listing and one closing may take; repairs back off from `repair_base_s`.
    """

    open_s: float = 10.0
    attempt_s: float = 600.0
    list_s: float = 10.0
    close_s: float = 15.0
    repair_base_s: float = 1.0
    repair_cap_s: float = 60.0


class Supervised:
    """One upstream and what is known of it. It is an `Upstream` itself; a task of its own opens and repairs it."""

    def __init__(self, name: str, upstream: Upstream, surroundings: Surroundings, pace: PoolPace) -> None:
        self._name = name
        self._upstream = upstream
        self._clock = surroundings.clock
        self._ids = surroundings.ids
        self._pace = pace
        self._health = Health(State.OPENING, surroundings.clock.now_ms())
        self._tried = asyncio.Event()
        self._trouble = asyncio.Event()
        self._failures = 0
        self._fails_probe = False
        self._supervisor: asyncio.Task[None] | None = None
        self._listeners: list[Notice] = []
        self.probed: Probed | None = None
        self.changed: Callable[[], None] = lambda: None
        upstream.on_notice(self._tell)

    @property
    def health(self) -> Health:
        """How the server stands now."""
        return self._health

    @property
    def opening(self) -> bool:
        """Tell whether a first opening is under way."""
        return self._supervisor is not None and not self._tried.is_set()

    async def tried(self) -> None:
        """Wait until the upstream was opened once, however that went."""
        await self._tried.wait()

    async def open(self) -> None:
        """Start looking after the upstream; return when it was tried once, or after `open_s`."""
        if self._supervisor is None:
            self._supervisor = asyncio.get_running_loop().create_task(self._supervise())
        try:
            async with asyncio.timeout(self._pace.open_s):
                await self._tried.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait({supervisor})
        try:
            async with asyncio.timeout(self._pace.close_s):
                await self._upstream.close()
        except TimeoutError:
            return

    def traits(self, tool: str) -> ToolTraits | None:
        return self._upstream.traits(tool)

    def offer(self) -> Offer:
        return self._upstream.offer()

    def concerning(self, behalf: Behalf) -> Behalf:
        return self._upstream.concerning(behalf)

    def on_notice(self, listener: Notice) -> None:
        self._listeners.append(listener)

    async def watch(self, uris: frozenset[str]) -> None:
        """As the upstream's, in the time one listing may take. Raises `ConnectorFault`."""
        await self._within(lambda: self._upstream.watch(uris), "subscribe")

    async def tools(self) -> Definitions:
        """List the server's tools, in the time one listing may take. Raises `ConnectorFault`."""
        return await self._within(self._upstream.tools, "list its tools")

    async def listed(self, method: str) -> Definitions:
        """List something else of the server, in the time one listing may take. Raises `ConnectorFault`."""
        return await self._within(lambda: self._upstream.listed(method), f"answer {method}")

    async def _within(self, work: Callable[[], Awaitable[_T]], what: str) -> _T:
        await self._usable(self._pace.list_s)
        try:
            async with asyncio.timeout(self._pace.list_s):
                found = await work()
        except TimeoutError:
            fault = ConnectorFault(f"{self._name} did not {what} in time.", code="timeout")
            self._learn(fault)
            raise fault from None
        except ConnectorFault as fault:
            self._learn(fault)
            raise
        self._learn(None)
        return found

    def call(self, call: ToolCall) -> Awaitable[Mapping[str, Any]]:
        if self._health.state is not State.UP:
            return self._when_usable(call)
        try:
            asked = self._upstream.call(call)
        except ConnectorFault as fault:
            return self._watched(_raised(fault))
        if not isinstance(asked, Begun):
            return self._watched(asked)
        asked.watched = self._watched
        return asked

    async def _when_usable(self, call: ToolCall) -> Mapping[str, Any]:
        await self._usable(call.timeout_s)
        return await self._watched(self._called(call))

    async def _called(self, call: ToolCall) -> Mapping[str, Any]:
        return await self._upstream.call(call)

    async def _watched(self, asked: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what was asked for, having learnt from what came of it."""
        try:
            result = await asked
        except Confined:
            raise
        except ConnectorFault as fault:
            self._learn(fault)
            raise
        if self._health.state is not State.UP:
            self._learn(None)
        return result

    async def probe(self, asked: ToolCall | None, timeout_s: float) -> None:
        """Look whether the server answers, to a call or else to a listing, and take it for down when it does not.

        A server that only fails its probe is still called by agents: they may find it better than it says.
        """
        if self._supervisor is None or self.opening:
            return
        if self._failures:
            self._trouble.set()  # it cannot be reached: try to repair it now
            return
        began, at_ms, error = self._clock.monotonic(), self._clock.now_ms(), ""
        try:
            async with asyncio.timeout(timeout_s):
                result = await (self._upstream.tools() if asked is None else self._upstream.call(asked))
            if isinstance(result, Mapping) and result.get("isError") is True:
                error = "its probe was answered with an error"
        except TimeoutError:
            error = f"its probe was not answered in {timeout_s:g} s"
        except Exception as fault:  # noqa: BLE001 - a probe that dies would leave its server unwatched
            error = fault.message if isinstance(fault, ConnectorFault) else repr(fault)
        self.probed = Probed(at_ms, int((self._clock.monotonic() - began) * 1000), error)
        self._fails_probe = bool(error) and asked is not None
        if error:
            self._become(State.DOWN, error)
            self._trouble.set()
        else:
            self._become(State.UP)

    async def _usable(self, timeout_s: float) -> None:
        """Wait for a first opening that is under way; one that failed is reported at once."""
        if self._health.state is State.UP or self._supervisor is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        except TimeoutError:
            raise ConnectorFault(f"{self._name} is still starting.", retry_after_s=1.0, sent=False) from None
        if self._health.state is State.DOWN and self._failures:
            self._trouble.set()
            raise ConnectorFault(
                self._health.error or f"{self._name} is down.", retry_after_s=self._pace.repair_base_s, sent=False
            )

    def _learn(self, fault: ConnectorFault | None) -> None:
        """Note what a call or a listing tells of the server. Only one that could not be reached is down."""
        if fault is None:
            if self._health.state is not State.UP and not self._fails_probe:
                self._become(State.UP)
        elif not fault.sent and fault.code in {"unavailable", "timeout"}:
            self._become(State.DOWN, fault.message)
            self._trouble.set()

    def _become(self, state: State, error: str = "") -> None:
        if (state, error) != (self._health.state, self._health.error):
            since = self._health.since_ms if state is self._health.state else self._clock.now_ms()
            self._health = Health(state, since, error)
            self.changed()

    async def _supervise(self) -> None:
        """Open the upstream, again and again until it works; later, when it cannot be reached, probe it by listing."""
        opened = False
        while True:
            self._trouble.clear()
            try:
                async with asyncio.timeout(self._pace.attempt_s):
                    await (self._upstream.tools() if opened else self._upstream.open())
            except Exception as error:  # noqa: BLE001 - a supervisor that dies would leave its server down for good
                self._failures += 1
                self._become(State.DOWN, error.message if isinstance(error, ConnectorFault) else repr(error))
            else:
                repaired = self._failures > 0 or opened
                opened, self._failures = True, 0
                if not self._fails_probe:
                    self._become(State.UP)
                if repaired:
                    self._tell(TOOLS_CHANGED, {})  # it may have come back with other tools
            self._tried.set()
            if not self._failures:
                await self._trouble.wait()
            await self._clock.sleep(self._pace.repair_base_s)
            await self._back_off()

    async def _back_off(self) -> None:
        """Wait before the next repair, ever longer; a call that wants the server ends the wait."""
        if not self._failures:
            return
        longest = min(self._pace.repair_cap_s, self._pace.repair_base_s * 2.0 ** min(self._failures - 1, 16))
        try:
            async with asyncio.timeout(longest * self._ids.fraction()):
                await self._trouble.wait()
        except TimeoutError:
            return

    def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(method, params)


class Upstreams:
    """The upstreams by name. One that is dead delays and empties nothing of another's."""

    def __init__(self, surroundings: Surroundings | None = None, pace: PoolPace | None = None) -> None:
        self._surroundings = surroundings or Surroundings()
        self._pace = pace or PoolPace()
        self._members: dict[str, Supervised] = {}

    def add(self, name: str, upstream: Upstream) -> Supervised:
        """Take an upstream in, not yet open.

        Raises:
            ValueError: there is one of that name.
        """
        if name in self._members:
            raise ValueError(f"two upstreams are called {name!r}")
        member = self._members[name] = Supervised(name, upstream, self._surroundings, self._pace)
        return member

    async def remove(self, name: str) -> None:
        """Close one upstream and forget it; nothing happens if there is none of that name."""
        member = self._members.pop(name, None)
        if member is not None:
            await member.close()

    def get(self, name: str) -> Supervised:
        """Return the upstream called `name`.

        Raises:
            ConnectorFault: there is none; `sent` is False.
        """
        member = self._members.get(name)
        if member is None:
            raise ConnectorFault(f"No server is called {name!r}.", sent=False)
        return member

    def names(self) -> Sequence[str]:
        """Return the names, in the order they were added."""
        return list(self._members)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever one of those that are there now stands otherwise."""
        for member in self._members.values():
            member.changed = changed

    def health(self) -> Mapping[str, Health]:
        """Return how every server stands."""
        return {name: member.health for name, member in self._members.items()}

    async def open(self) -> None:
        """Open all at once; return when each has been tried once, however that went. Failed ones are tried again."""
        await asyncio.gather(*(member.open() for member in self._members.values()))

    async def settle(self, patience_s: float, names: Iterable[str] | None = None) -> None:
        """Return when no first opening (of those named) is under way any more, or when `patience_s` has passed."""
        members = self._members.values() if names is None else map(self.get, names)
        waiting = [member.tried() for member in members if member.opening]
        if waiting:
            try:
                async with asyncio.timeout(patience_s):
                    await asyncio.gather(*waiting)
            except TimeoutError:
                return

    async def tools(self) -> Mapping[str, Definitions | ConnectorFault]:
        """List all at once: each server's definitions, or why there are none."""
        members = list(self._members.items())
        found = await asyncio.gather(*(_listed(member) for _, member in members))
        return {name: answer for (name, _), answer in zip(members, found, strict=True)}

    async def close(self) -> None:
        """Close all at once."""
        await asyncio.gather(*(member.close() for member in self._members.values()))


async def _raised(fault: ConnectorFault) -> Mapping[str, Any]:
    raise fault


async def _listed(member: Supervised) -> Definitions | ConnectorFault:
    try:
        return await member.tools()
    except ConnectorFault as fault:
        return fault
