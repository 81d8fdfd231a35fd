"""A breaker, step by step."""

from gateway.resilience.breaker import Breaker, BreakerState
from gateway.resilience.config import ResilienceConfig
from tests.fixtures.clock import FakeClock


def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock, ResilienceConfig(breaker_calls=4, breaker_min_calls=2, breaker_open_s=10.0))


def opened(clock: FakeClock) -> Breaker:
    made = breaker(clock)
    made.record(failed=True)
    made.record(failed=True)
    assert made.state is BreakerState.OPEN
    return made


def test_too_few_calls_open_nothing() -> None:
    made = breaker(FakeClock())
    made.record(failed=True)
    assert made.wait_s() is None


def test_old_failures_are_forgotten() -> None:
    made = breaker(FakeClock())
    for failed in (False, False, False, True, False, False, False, True):
        made.record(failed)
    assert made.state is BreakerState.CLOSED
    made.record(failed=True)
    assert made.state is BreakerState.OPEN


async def test_one_call_at_a_time_probes_and_a_failed_probe_opens_again() -> None:
    clock = FakeClock()
    made = opened(clock)
    await clock.sleep(4.0)
    assert made.wait_s() == 6.0
    await clock.sleep(6.0)
    assert made.wait_s() is None
    assert made.wait_s() == 1.0
    made.record(failed=True)
    assert (made.state, made.wait_s()) == (BreakerState.OPEN, 10.0)


async def test_a_probe_that_tells_nothing_leaves_room_for_another() -> None:
    clock = FakeClock()
    made = opened(clock)
    await clock.sleep(10.0)
    assert made.wait_s() is None
    made.forget()
    assert made.wait_s() is None
    made.record(failed=False)
    assert made.state is BreakerState.CLOSED


def test_a_call_let_through_before_the_breaker_opened_changes_nothing_after() -> None:
    made = opened(FakeClock())
    made.record(failed=False)
    assert made.state is BreakerState.OPEN
