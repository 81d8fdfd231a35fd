"""The breakers of one server that is shown more than one credential."""

from collections.abc import Sequence

import pytest

from gateway.connector import ITSELF, Behalf, Secret
from gateway.resilience.breaker import BreakerState, Turn
from gateway.resilience.breakers import Breakers
from gateway.resilience.config import ResilienceConfig
from tests.fixtures.clock import FakeClock

ANN, BOB, CYD = (Behalf(name, "https://id.example") for name in ("ann", "bob", "cyd"))


class Server:
    """Breakers that open at 4 calls of which half failed, for 10 s."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        settings = ResilienceConfig(breaker_calls=8, breaker_min_calls=4, breaker_open_s=10.0)
        self.breakers = Breakers(self.clock, settings)

    def call(self, scope: Behalf, *, fails: bool = False) -> bool:
        """Tell whether a call was let through; it ended so."""
        turn = self.ask(scope)
        if isinstance(turn, float):
            return False
        turn.record(failed=fails)
        return True

    def ask(self, scope: Behalf) -> Turn | float:
        return self.breakers.for_calls(scope).ask()

    def calls(self, scope: Behalf, times: int, *, fails: bool = True) -> int:
        """Return how many of these calls were let through."""
        return sum(self.call(scope, fails=fails) for _ in range(times))


async def test_one_users_trouble_stops_that_user_alone() -> None:
    server = Server()
    assert server.calls(ANN, 20) == 4
    assert (server.breakers.state, server.breakers.open_for) == (BreakerState.CLOSED, 1)
    assert server.calls(BOB, 10, fails=False) == 10
    assert server.call(ITSELF)
    await server.clock.sleep(10.0)
    assert server.call(ANN)
    assert (server.call(ANN), server.breakers.open_for) == (True, 0)


def test_one_failure_of_another_user_is_not_yet_everybodys() -> None:
    server = Server()
    server.calls(ANN, 4)
    server.call(BOB, fails=True)
    assert server.call(CYD)


@pytest.mark.parametrize(
    "failing", [[ANN] * 4 + [BOB] * 2, [Behalf(f"u{n}", "i") for n in range(4)], [ITSELF] * 4 + [ANN] * 4]
)
async def test_what_fails_for_many_is_the_servers_and_stops_everybody_until_a_probe_succeeds(
    failing: Sequence[Behalf],
) -> None:
    server = Server()
    for scope in failing:
        server.call(scope, fails=True)
    assert server.breakers.state is BreakerState.OPEN
    assert not server.call(CYD)
    assert not server.call(ITSELF)
    await server.clock.sleep(10.0)
    assert server.breakers.state is BreakerState.HALF_OPEN
    assert server.call(CYD)
    assert server.breakers.state is BreakerState.CLOSED
    assert server.call(CYD)


async def test_whoever_still_fails_does_not_take_the_probe_from_the_others() -> None:
    server = Server()
    for scope in (ANN, BOB, CYD, ITSELF):
        server.call(scope, fails=True)
    await server.clock.sleep(10.0)
    assert server.call(ANN, fails=True)
    await server.clock.sleep(10.0)
    assert server.ask(ANN) == 10.0
    assert server.call(BOB)
    assert server.breakers.state is BreakerState.CLOSED


async def test_whoever_is_alone_with_the_server_may_probe_again_a_little_later() -> None:
    server = Server()
    for scope in (ANN, BOB, CYD, ITSELF):
        server.call(scope, fails=True)
    await server.clock.sleep(10.0)
    server.call(ANN, fails=True)
    await server.clock.sleep(20.0)
    assert server.call(ANN)
    assert server.call(BOB)


async def test_a_probe_that_the_users_own_breaker_stops_is_left_to_others() -> None:
    server = Server()
    server.calls(ANN, 4)
    await server.clock.sleep(5.0)
    for scope in (BOB, CYD):
        server.call(scope, fails=True)
    assert server.breakers.state is BreakerState.OPEN
    await server.clock.sleep(10.0)
    server.calls(ANN, 1)
    assert server.breakers.state is BreakerState.OPEN
    await server.clock.sleep(9.0)
    assert not server.call(ANN)
    await server.clock.sleep(1.0)
    probe = server.ask(BOB)
    assert not isinstance(probe, float)
    assert server.ask(CYD) == 1.0
    probe.forget()
    assert server.call(CYD)


async def test_a_call_let_through_before_everybody_was_stopped_does_not_decide_for_everybody() -> None:
    server = Server()
    early = [server.ask(ANN), server.ask(BOB), server.ask(CYD)]
    for scope in (ANN, BOB, CYD, ITSELF):
        server.call(scope, fails=True)
    await server.clock.sleep(10.0)
    probe = server.ask(ITSELF)
    for turn in early:
        assert not isinstance(turn, float)
        turn.record(failed=False)
    assert server.breakers.state is BreakerState.HALF_OPEN
    assert not isinstance(probe, float)
    probe.record(failed=True)
    assert server.breakers.state is BreakerState.OPEN


def test_successes_of_others_keep_the_servers_breaker_closed() -> None:
    server = Server()
    for scope in (ANN, CYD, BOB, CYD, CYD, ANN, CYD, BOB, CYD):
        server.call(scope, fails=scope is not CYD)
    assert server.breakers.state is BreakerState.CLOSED


def test_a_user_is_the_same_whatever_token_says_so() -> None:
    server = Server()
    for number in range(4):
        server.call(Behalf("ann", "i", Secret(f"token {number}")), fails=True)
    assert not server.call(Behalf("ann", "i", Secret("another")))
    assert server.call(Behalf("ann", "another issuer"))
    assert server.call(Behalf("", "i", Secret("an agent's own")))


def test_only_so_many_users_are_remembered() -> None:
    server = Server()
    server.calls(ANN, 4)
    for number in range(1001):
        server.call(Behalf(f"u{number}", "i"))
    assert server.breakers.open_for == 0
    assert server.call(ANN)


def test_without_credentials_of_users_there_is_one_breaker() -> None:
    server = Server()
    gate = server.breakers.for_calls(ITSELF)
    assert gate is server.breakers.for_calls(ITSELF)
    assert server.calls(ITSELF, 9) == 4
    assert (server.breakers.state, server.breakers.open_for) == (BreakerState.OPEN, 0)
