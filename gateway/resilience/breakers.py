"""The breakers of one server: what one credential meets with does not stop the calls made with the others."""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from gateway.connector.credential import ITSELF, Behalf
from gateway.model.clock import Clock
from gateway.resilience.breaker import Breaker, BreakerState, OwnTurn, Turn, too_many
from gateway.resilience.config import ResilienceConfig

__all__ = ["Breakers", "Passage"]

_MOST_SCOPES: Final = 1000
"""Credentials whose breakers are remembered; those that were not used for longest are forgotten."""


class Breakers:
    """One breaker while everybody's calls show the server the same; with credentials of users, one for each besides.

    A credential's own breaker opens by its own calls alone. The server's opens for all, when too many calls have failed
    also without those of the one credential that fails most.
    """

    def __init__(self, clock: Clock, settings: ResilienceConfig) -> None:
        self._clock = clock
        self._settings = settings
        self._shared = Breaker(clock, settings)
        self._own: OrderedDict[Behalf, Breaker] = OrderedDict()
        self._server: _OfServer | None = None

    @property
    def state(self) -> BreakerState:
        """How the server's breaker stands, which is for every call."""
        return self._shared.state if self._server is None else self._server.state

    @property
    def open_for(self) -> int:
        """For how many credentials of their own, that the server is shown besides, it is not closed."""
        return sum(breaker.state is not BreakerState.CLOSED for breaker in self._own.values())

    def for_calls(self, scope: Behalf) -> "Breaker | Passage":
        """Return what a call has to pass that shows a credential of this scope: `ITSELF` where all show the same."""
        if self._server is None:
            if scope is ITSELF:
                return self._shared
            self._server = _OfServer(self._clock, self._settings)
            self._own[ITSELF] = self._shared
            self._server.begin_with(self._shared.lately)
        scope = Behalf(scope.user, scope.issuer) if scope.user else scope  # whatever token says so
        own = self._own.get(scope)
        if own is None:
            own = self._own[scope] = Breaker(self._clock, self._settings)
            if len(self._own) > _MOST_SCOPES:
                self._own.popitem(last=False)
        self._own.move_to_end(scope)
        return Passage(own, self._server, scope)


class _OfServer(Breaker):
    """A breaker that is told whose calls it judges."""

    def __init__(self, clock: Clock, settings: ResilienceConfig) -> None:
        super().__init__(clock, settings)
        self._scopes: deque[Behalf] = deque(maxlen=settings.breaker_calls)
        self._failed_probe: Behalf | None = None

    def begin_with(self, lately: Sequence[bool]) -> None:
        """Know how the last calls ended before there were scopes."""
        for failed in lately:
            self.learn_of(ITSELF, self._turn, failed)

    def ask_for(self, scope: Behalf) -> OwnTurn | float:
        """As `ask`. Whoever's probe failed lets others probe first: perhaps only its own calls still fail."""
        if scope == self._failed_probe and self.state is BreakerState.HALF_OPEN:
            others_s = self._left() + self._settings.breaker_open_s
            if others_s > 0:
                return others_s
        return self.ask()

    def learn_of(self, scope: Behalf, turn: OwnTurn, failed: bool) -> None:
        """As `learn`."""
        if not self.judges(turn):
            return
        probed = self._probing
        if not probed:
            self._scopes.append(scope)
        self.learn(turn, failed)
        if probed:
            self._failed_probe = scope if failed else None
            self._scopes.clear()

    def _trips(self) -> bool:
        failed = Counter(scope for scope, bad in zip(self._scopes, self._failures, strict=True) if bad)
        if not failed or not super()._trips():
            return False
        worst = failed.most_common(1)[0][0]
        rest = [bad for scope, bad in zip(self._scopes, self._failures, strict=True) if scope != worst]
        minimum = min(self._settings.breaker_min_calls, self._settings.breaker_calls)
        return too_many(rest, max(minimum // 2, 1), self._settings.breaker_failure_rate)


class Passage:
    """What one call has to pass: the breaker of its credential, and that of the server. Used as a `Breaker`."""

    __slots__ = ("_own", "_scope", "_server")

    def __init__(self, own: Breaker, server: _OfServer, scope: Behalf) -> None:
        self._own = own
        self._server = server
        self._scope = scope

    def ask(self) -> Turn | float:
        """As `Breaker.ask`."""
        server = self._server.ask_for(self._scope)
        if isinstance(server, float):
            return server
        own = self._own.ask()
        if isinstance(own, float):
            server.forget()
            return own
        return _BothTurns(own, self._server, server, self._scope)


class _BothTurns:
    """A call that both breakers let through."""

    __slots__ = ("_own", "_scope", "_server", "_servers")

    def __init__(self, own: OwnTurn, server: _OfServer, servers: OwnTurn, scope: Behalf) -> None:
        self._own = own
        self._server = server
        self._servers = servers
        self._scope = scope

    def record(self, failed: bool) -> None:
        """As `Turn.record`."""
        self._own.record(failed)
        self._server.learn_of(self._scope, self._servers, failed)

    def forget(self) -> None:
        """As `Turn.forget`."""
        self._own.forget()
        self._servers.forget()
