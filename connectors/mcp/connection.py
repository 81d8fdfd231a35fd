"""One connection to a server: opened, agreed on an era, healed with backoff when it is gone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeVar

from connectors.mcp.era import Era, Protocol, negotiate
from connectors.mcp.faults import Faults, unsent
from connectors.mcp.wire import RpcError, SessionLost, Wire
from gateway.connector import Clock, ConnectorFault, Offer, Surroundings, TimedOut, Unavailable

__all__ = ["Connection", "Pace", "Terms"]

_T = TypeVar("_T")
_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds; a server that keeps dying is restarted ever more slowly.

    A connection of one client is closed when idle for `lane_idle_s`, that of all for `rest_after_s`.
    """

    open_s: float = 30.0
    probe_s: float = 3.0
    list_s: float = 30.0
    restart_base_s: float = 0.5
    restart_cap_s: float = 30.0
    lane_idle_s: float = 300.0
    rest_after_s: float = inf


class Terms:
    """What all connections to one server have in common."""

    def __init__(self, surroundings: Surroundings, pace: Pace) -> None:
        self.pace: Final = pace
        self.clock: Final[Clock] = surroundings.clock
        self.faults: Final = Faults(surroundings.server, surroundings.redact)
        self.client: Final = {"name": "toolgate", "version": surroundings.version}


class Connection:
    """A wire and what was agreed over it. A dead server is started again by the next use, with backoff.

    `lends` says which client capabilities the server is told of when it is connected to.
    """

    def __init__(
        self, wire: Wire, protocol: Protocol, terms: Terms, lends: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self.wire: Final = wire
        self._lends = lends
        self._protocol = self._remembered = protocol
        self._terms = terms
        self.era: Era | None = None
        """What is agreed, or None where nothing is; another object after every new agreement."""
        self._opening = asyncio.Lock()
        self._closed = True
        self.starts = 0
        """How often it was started and not known to work since."""
        self._not_before = 0.0
        self._level: tuple[Era, str] | None = None
        self._change: Callable[[], None] = lambda: None
        self.offer = Offer()
        """What the server said of itself when it was last connected to."""
        self.definitions: Mapping[str, Mapping[str, Any]] | None = None
        """The tools as they are known to be defined by the server at the other end, by name."""
        self.defined_over: Era | None = None
        """The agreement over which `definitions` were read or found to hold."""
        wire.on_lost(self._lost)

    @property
    def live(self) -> Era | None:
        """What is agreed with a server that is there, as far as is known."""
        return self.era if self.wire.alive else None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` told when something new was agreed, and when the server has gone by itself."""
        self._change = listener

    async def open(self) -> None:
        """Connect. Raises `ConnectorFault`."""
        self.allow()
        await self.reach(self._terms.pace.open_s)

    def allow(self) -> None:
        """Let the first use connect."""
        self._closed = False
        self._not_before = 0.0

    async def close(self) -> None:
        """Leave nothing behind; never raises."""
        self._closed = True
        self.era = None
        await self.wire.close()

    async def rest(self, may: Callable[[], bool]) -> None:
        """Disconnect until the next use, if that `may` be once no opening is under way; never raises."""
        async with self._opening:
            if may():
                self.era = None
                await self.wire.close()

    async def reach(self, timeout_s: float) -> Era:
        """As `ready`, in the server's name."""
        try:
            return await self.ready(timeout_s)
        except ConnectorFault as fault:
            raise self._terms.faults.named(fault) from fault

    async def ready(self, timeout_s: float) -> Era:
        """Return the era agreed with a live server, starting it if need be.

        Raises:
            ConnectorFault: it cannot be started; `sent` is False, for the caller's own request never left.
        """
        if self.era is not None and self.wire.alive:
            return self.era
        async with self._opening:
            if self.era is not None and self.wire.alive:
                return self.era
            if self._closed:
                raise Unavailable("The server is not open.", sent=False)
            if not self.wire.alive:
                self._pass_backoff()
            return await self._start(timeout_s)

    async def hold_session(self, once: Callable[[], Awaitable[_T]], agreed: Era | None = None) -> _T:
        """Run `once`; where the server has dropped the session, which it says before it does anything, once more.

        `agreed` is what was agreed when that began, where it is not just beginning.

        Raises:
            ConnectorFault: what `once` raised, a JSON-RPC error among it; with the server's name.
        """
        agreed = agreed or self.era
        try:
            try:
                result = await once()
            except SessionLost:
                if self.era is agreed:  # else another call has already agreed on a new one
                    self.era = None
                result = await once()
        except RpcError as error:
            raise self._terms.faults.named(self._terms.faults.refusal(error)) from error
        except ConnectorFault as fault:
            raise self._terms.faults.named(fault) from fault
        self.works()
        return result

    def works(self) -> None:
        """Take note that the server is none that keeps dying: it need not be waited for, should it go."""
        self.starts, self._not_before = 0, 0.0

    async def want_logs(self, level: str, timeout_s: float) -> None:
        """Have a legacy server send log messages from `level` on, where it takes levels at all.

        Raises:
            RpcError, ConnectorFault: the server could not be told.
        """
        era = self.era
        if era is None or era.modern or not level or self._level == (era, level):
            return
        try:
            await self.wire.request("logging/setLevel", {"level": level}, era.headers("logging/setLevel"), timeout_s)
        except SessionLost:
            raise
        except RpcError:
            pass  # it knows no such level: what it sends by itself has to do
        self._level = (era, level)

    def _pass_backoff(self) -> None:
        now = self._terms.clock.monotonic()
        if now < self._not_before:
            raise Unavailable("The server is being restarted.", retry_after_s=self._not_before - now, sent=False)
        self.starts += 1
        delay = self._terms.pace.restart_base_s * 2.0 ** min(self.starts - 1, _MOST_DOUBLINGS)
        self._not_before = now + min(delay, self._terms.pace.restart_cap_s)

    async def _start(self, timeout_s: float) -> Era:
        era: Era | None = None
        pace = self._terms.pace
        begun = not self.wire.alive
        try:
            async with asyncio.timeout(min(pace.open_s, timeout_s)):
                if begun:
                    await self.wire.open()
                era = await self._agree()
                self._remembered = Protocol.MODERN if era.modern else Protocol.LEGACY
        except TimeoutError:
            raise TimedOut("The server did not start in time.", sent=False) from None
        except RpcError as error:
            raise unsent(self._terms.faults.refusal(error)) from error
        except ConnectorFault as fault:
            if fault.code == "credential_expired" and not fault.sent:  # which tells nothing of the server
                self.works()
            raise unsent(fault) from fault
        finally:
            if self._closed:
                era = None
            self.era = era
            if era is None:
                self._remembered = self._protocol
                if begun or self._closed:  # else other calls are in flight on it
                    await self.wire.close()
        if era is None:
            raise Unavailable("The server was stopped.", sent=False)
        self.offer = era.offer
        self._change()
        return era

    async def _agree(self) -> Era:
        """Agree on an era; once more where that which was remembered holds no longer, or asking ended the server.

        Many a server over pipes (every one made with the Rust SDK before 2026) ends at a request before `initialize`.
        """
        try:
            return await self._negotiate(self._remembered)
        except RpcError:
            if self._remembered is self._protocol or not self.wire.alive:
                raise
            return await self._negotiate(self._protocol)
        except ConnectorFault as fault:
            if self._remembered is not Protocol.AUTO or self._closed or self.wire.alive or not fault.sent:
                raise
            await self.wire.open()
            return await self._negotiate(Protocol.LEGACY)

    def _negotiate(self, protocol: Protocol) -> Awaitable[Era]:
        return negotiate(self.wire, protocol, self._terms.client, self._terms.pace.probe_s, self._lends())

    def _lost(self) -> None:
        if self.wire.alive:
            self.era = None
        self._change()
