"""A breaker, step by step, and that only its own probe decides for it, whatever is under way besides."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.resilience.breaker import Breaker, BreakerState, Turn
from gateway.resilience.config import ResilienceConfig
from tests.fixtures.clock import FakeClock


def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock, ResilienceConfig(breaker_calls=4, breaker_min_calls=2, breaker_open_s=10.0))


def let_through(made: Breaker) -> Turn:
    turn = made.ask()
    assert not isinstance(turn, float)
    return turn


def opened(clock: FakeClock) -> Breaker:
    made = breaker(clock)
    let_through(made).record(failed=True)
    let_through(made).record(failed=True)
    assert made.state is BreakerState.OPEN
    return made


def test_too_few_calls_open_nothing() -> None:
    made = breaker(FakeClock())
    let_through(made).record(failed=True)
    let_through(made)


def test_it_opens_no_later_for_having_seen_long_that_nothing_fails() -> None:
    made = breaker(FakeClock())
    for _ in range(9):
        let_through(made).record(failed=False)
    for _ in range(2):
        assert made.state is BreakerState.CLOSED
        let_through(made).record(failed=True)
    assert (made.state, made.lately) == (BreakerState.OPEN, (False, False, True, True))


def test_old_failures_are_forgotten() -> None:
    made = breaker(FakeClock())
    for failed in (False, False, False, True, False, False, False, True):
        let_through(made).record(failed)
    assert made.state is BreakerState.CLOSED
    let_through(made).record(failed=True)
    assert made.state is BreakerState.OPEN


async def test_one_call_at_a_time_probes_and_a_failed_probe_opens_again() -> None:
    clock = FakeClock()
    made = opened(clock)
    await clock.sleep(4.0)
    assert made.ask() == 6.0
    await clock.sleep(6.0)
    probe = let_through(made)
    assert made.ask() == 1.0
    probe.record(failed=True)
    assert (made.state, made.ask()) == (BreakerState.OPEN, 10.0)


async def test_a_probe_that_tells_nothing_leaves_room_for_another() -> None:
    clock = FakeClock()
    made = opened(clock)
    await clock.sleep(10.0)
    let_through(made).forget()
    let_through(made).record(failed=False)
    assert made.state is BreakerState.CLOSED


async def test_a_call_let_through_before_the_breaker_opened_is_not_taken_for_the_probe() -> None:
    clock = FakeClock()
    made = breaker(clock)
    early = [let_through(made) for _ in range(5)]
    early[0].record(failed=True)
    early[1].record(failed=True)
    await clock.sleep(10.0)
    probe = let_through(made)
    early[2].record(failed=False)
    early[3].forget()
    assert (made.state, made.ask()) == (BreakerState.HALF_OPEN, 1.0)
    probe.record(failed=False)
    early[4].record(failed=True)
    assert (made.state, list(made.lately)) == (BreakerState.CLOSED, [])


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "good", "bad", "bad", "forget", "wait"]), st.integers(0, 9)), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_once_open_a_breaker_is_moved_by_its_probe_alone_and_always_lets_one_through_in_the_end(
    steps: list[Step],
) -> None:
    clock = FakeClock()
    made = breaker(clock)
    under_way: list[tuple[Turn, bool]] = []
    for what, number in steps:
        before = made.state
        if what == "wait":
            asyncio.run(clock.sleep(float(number)))
        elif what == "ask":
            turn = made.ask()
            if not isinstance(turn, float):
                assert before is not BreakerState.OPEN
                under_way.append((turn, before is BreakerState.HALF_OPEN))
        elif under_way:
            turn, probes = under_way.pop(number % len(under_way))
            turn.forget() if what == "forget" else turn.record(failed=what == "bad")
            decided = probes and what != "forget"
            if before is not BreakerState.CLOSED:
                after = BreakerState.OPEN if what == "bad" else BreakerState.CLOSED
                assert made.state is (after if decided else before)
        assert sum(probes for _, probes in under_way) <= 1
    for turn, _ in under_way:
        turn.forget()
    asyncio.run(clock.sleep(10.0))
    let_through(made)
