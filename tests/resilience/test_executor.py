"""A call is made as often as is safe, and never longer than its deadline."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from gateway.connector import Begun, Behalf, ConnectorFault, ToolCall
from gateway.model.back import Back
from gateway.model.errors import LimitFault, OutcomeUnknown
from gateway.model.tool import Effect, Tool
from gateway.resilience import Executor, ResilienceConfig
from gateway.resilience.breaker import BreakerState
from tests.fixtures.clock import CountingIds, FakeClock
from tests.fixtures.scripted import OK, ScriptedUpstream


def tool(effect: Effect = Effect.READ, *, idempotent: bool = False, server: str = "pay") -> Tool:
    return Tool("pay.do", "pay_do", server, "do", 1, "sha256:0", effect, {}, {}, idempotent=idempotent)


def asked(timeout_s: float = 60.0, key: str | None = None) -> ToolCall:
    return ToolCall("do", {}, "call_1", timeout_s, key)


def gone(*, refused: bool = False, **more: Any) -> ConnectorFault:
    fault = ConnectorFault("gone", **more)
    fault.refused = refused
    return fault


UNSENT = {"sent": False}


class Run:
    """An executor on a fake clock, and every attempt that it noted."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.executor = Executor(self.clock, CountingIds(0.5), ResilienceConfig(**settings))
        self.attempts: list[Mapping[str, Any]] = []

    async def execute(self, upstream: ScriptedUpstream, of: Tool, call: ToolCall | None = None) -> Mapping[str, Any]:
        return await self.executor.execute(of, call or asked(), upstream, self.attempts.append)

    @property
    def codes(self) -> list[str]:
        return [attempt["code"] for attempt in self.attempts]


async def test_a_call_that_succeeds_is_one_attempt() -> None:
    run, upstream = Run(), ScriptedUpstream()
    assert await run.execute(upstream, tool(Effect.IRREVERSIBLE)) == OK
    told = {"n": 1, "started_ms": 1_800_000_000_000, "ms": 0, "code": "ok", "reason": ""}
    assert run.attempts == [{**told, "status": None, "bytes": None}]
    assert upstream.asked == [asked()]


READ, WRITE, IRREVERSIBLE = Effect.READ, Effect.WRITE, Effect.IRREVERSIBLE


@pytest.mark.parametrize(
    ("effect", "keyed", "fault", "expected"),
    [
        (READ, (False, None), gone(), (True, False)),
        (READ, (False, None), gone(code="timeout"), (True, False)),
        (READ, (False, None), gone(code="contract_broken"), (False, False)),
        (READ, (False, None), gone(code="rejected"), (False, False)),
        (WRITE, (False, None), gone(**UNSENT), (True, False)),
        (WRITE, (False, None), gone(), (False, True)),
        (WRITE, (False, None), gone(refused=True), (True, False)),
        (WRITE, (False, "key"), gone(), (False, True)),
        (WRITE, (True, None), gone(), (False, True)),
        (WRITE, (True, "key"), gone(), (True, True)),
        (WRITE, (True, "key"), gone(code="timeout"), (True, True)),
        (WRITE, (False, None), gone(code="timeout"), (False, True)),
        (WRITE, (False, None), gone(code="contract_broken"), (False, True)),
        (WRITE, (True, "key"), gone(code="contract_broken"), (False, True)),
        (WRITE, (False, None), gone(code="rejected"), (False, False)),
        (WRITE, (False, None), gone(code="credential_expired"), (False, False)),
        (WRITE, (False, None), gone(code="timeout", **UNSENT), (True, False)),
        (IRREVERSIBLE, (False, None), gone(), (False, True)),
        (IRREVERSIBLE, (False, None), gone(**UNSENT), (True, False)),
        (IRREVERSIBLE, (False, None), gone(refused=True), (True, False)),
        (IRREVERSIBLE, (True, "key"), gone(), (True, True)),
    ],
)
async def test_only_what_cannot_double_is_tried_again_and_what_may_have_happened_is_unknown(
    effect: Effect, keyed: tuple[bool, str | None], fault: ConnectorFault, expected: tuple[bool, bool]
) -> None:
    (idempotent, key), (retried, unknown) = keyed, expected
    run, upstream = Run(), ScriptedUpstream(*[fault] * 10)
    with pytest.raises(OutcomeUnknown if unknown else ConnectorFault) as caught:
        await run.execute(upstream, tool(effect, idempotent=idempotent), asked(key=key))
    assert len(upstream.asked) == len(run.attempts) == (4 if retried else 1)
    assert {call.idempotency_key for call in upstream.asked} == {key}
    if not unknown:
        assert caught.value is fault
    else:
        assert "#call_1" in caught.value.args[0]


async def test_a_second_attempt_may_succeed() -> None:
    run, upstream = Run(), ScriptedUpstream(gone(), gone(code="timeout"))
    assert await run.execute(upstream, tool()) == OK
    assert run.codes == ["unavailable", "timeout", "ok"]
    assert [attempt["n"] for attempt in run.attempts] == [1, 2, 3]
    assert [attempt["started_ms"] for attempt in run.attempts] == [1_800_000_000_000 + n for n in (0, 100, 300)]


@pytest.mark.parametrize(
    "later", [gone(**UNSENT), gone(code="rejected"), gone(code="credential_expired"), LimitFault("busy")]
)
async def test_a_doubt_stays_a_doubt_whatever_a_later_attempt_says(later: Exception) -> None:
    run, upstream = Run(), ScriptedUpstream(gone(), *[later] * 10)
    with pytest.raises(OutcomeUnknown):
        await run.execute(upstream, tool(WRITE, idempotent=True), asked(key="k"))


async def test_a_doubt_stays_a_doubt_when_the_breaker_opens_meanwhile() -> None:
    run, upstream = Run(breaker_calls=1, breaker_min_calls=1), ScriptedUpstream(*[gone()] * 10)
    with pytest.raises(OutcomeUnknown, match="may or may not") as caught:
        await run.execute(upstream, tool(WRITE, idempotent=True), asked(key="k"))
    assert caught.value.retry_after_s is not None
    assert len(upstream.asked) == 1


async def test_what_was_answered_is_kept_of_each_attempt_by_itself() -> None:
    async def answer(call: ToolCall) -> Mapping[str, Any]:
        call.measure.add(7, 401)
        call.measure.add(5, 200)
        call.measure.add(1)
        return OK

    async def refuse(call: ToolCall) -> Mapping[str, Any]:
        call.measure.add(0, 429)
        raise gone()

    run = Run()
    await run.execute(ScriptedUpstream(refuse, gone(), answer), tool())
    assert [(each["status"], each["bytes"]) for each in run.attempts] == [(429, 0), (None, None), (200, 13)]


async def test_waits_double_up_to_a_cap_with_full_jitter() -> None:
    run = Run(max_attempts=7, backoff_base_s=1.0, backoff_cap_s=10.0, breaker_min_calls=20)
    with pytest.raises(ConnectorFault):
        await run.execute(ScriptedUpstream(*[gone()] * 10), tool())
    assert run.clock.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_servers_wish_to_wait_is_kept() -> None:
    run = Run()
    assert await run.execute(ScriptedUpstream(gone(retry_after_s=7.0), gone(retry_after_s=0.0)), tool()) == OK
    assert run.clock.slept == [7.0, 0.2]


async def test_a_wish_to_wait_beyond_the_deadline_ends_the_call_at_once() -> None:
    run, upstream = Run(), ScriptedUpstream(gone(retry_after_s=61.0))
    with pytest.raises(ConnectorFault) as caught:
        await run.execute(upstream, tool())
    assert caught.value.retry_after_s == 61.0
    assert (run.clock.slept, len(upstream.asked)) == ([], 1)


async def test_every_attempt_gets_what_is_left_of_the_deadline() -> None:
    run, upstream = Run(), ScriptedUpstream(gone(retry_after_s=4.0), gone(retry_after_s=5.0), gone(retry_after_s=2.0))
    with pytest.raises(ConnectorFault):
        await run.execute(upstream, tool(), asked(timeout_s=10.0))
    assert [call.timeout_s for call in upstream.asked] == [10.0, 6.0, 1.0]


@pytest.mark.parametrize(
    ("effect", "key", "timeouts"),
    [(READ, None, [4.0, 4.0, 9.8]), (WRITE, "key", [4.0, 4.0, 9.8]), (WRITE, None, [10.0])],
)
async def test_one_attempt_leaves_time_for_the_next_where_there_may_be_one(
    effect: Effect, key: str | None, timeouts: list[float]
) -> None:
    run, upstream = Run(max_attempts=3), ScriptedUpstream(*[gone(code="timeout", retry_after_s=0.1)] * 3)
    of = replace(tool(effect, idempotent=True), attempt_s=4.0)
    with pytest.raises((ConnectorFault, OutcomeUnknown)):
        await run.execute(upstream, of, asked(timeout_s=10.0, key=key))
    assert [call.timeout_s for call in upstream.asked] == pytest.approx(timeouts, abs=0.11)


async def test_an_upstream_that_ignores_its_deadline_is_cut_off() -> None:
    executor = Executor(FakeClock(), CountingIds())
    attempts: list[Mapping[str, Any]] = []
    with pytest.raises(OutcomeUnknown):
        await executor.execute(tool(WRITE), asked(timeout_s=-0.99), ScriptedUpstream(asyncio.Event()), attempts.append)
    assert attempts[0]["code"] == "timeout"


async def test_a_cancelled_attempt_is_noted() -> None:
    run, upstream = Run(), ScriptedUpstream(asyncio.Event())
    running = asyncio.ensure_future(run.execute(upstream, tool()))
    while not upstream.asked:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert run.codes == ["cancelled"]


async def test_a_fault_nobody_foresaw_is_noted_and_passed_on() -> None:
    run = Run()
    with pytest.raises(KeyError):
        await run.execute(ScriptedUpstream(KeyError("bug")), tool())
    assert run.codes == ["internal"]


async def test_a_server_that_fails_too_often_is_left_alone_then_probed_and_used_again() -> None:
    run = Run(max_attempts=1, breaker_calls=4, breaker_min_calls=4, breaker_failure_rate=0.5, breaker_open_s=15.0)
    upstream = ScriptedUpstream(OK, OK, gone(), gone(code="timeout"))
    for _ in range(2):
        await run.execute(upstream, tool())
    for _ in range(2):
        with pytest.raises(ConnectorFault):
            await run.execute(upstream, tool())
    assert {name: each.state for name, each in run.executor.breakers().items()} == {"pay": BreakerState.OPEN}
    with pytest.raises(ConnectorFault, match="left alone") as caught:
        await run.execute(upstream, tool(WRITE))
    assert (caught.value.sent, caught.value.retry_after_s, len(upstream.asked)) == (False, 15.0, 4)
    assert await run.execute(upstream, tool(server="other")) == OK
    await run.clock.sleep(15.0)
    assert run.executor.breakers()["pay"].state is BreakerState.HALF_OPEN
    assert await run.execute(upstream, tool()) == OK
    assert run.executor.breakers()["pay"].state is BreakerState.CLOSED


async def test_a_slow_call_from_before_the_breaker_opened_is_not_taken_for_the_probe() -> None:
    run = Run(max_attempts=1, breaker_calls=2, breaker_min_calls=2)
    early, probed = asyncio.Event(), asyncio.Event()
    upstream = ScriptedUpstream(early, gone(), gone(), probed)
    slow = asyncio.ensure_future(run.execute(upstream, tool()))
    while not upstream.asked:
        await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(ConnectorFault, match="gone"):
            await run.execute(upstream, tool())
    await run.clock.sleep(15.0)
    probe = asyncio.ensure_future(run.execute(upstream, tool()))
    while len(upstream.asked) < 4:
        await asyncio.sleep(0)
    early.set()
    assert await slow == OK
    assert run.executor.breakers()["pay"].state is BreakerState.HALF_OPEN
    with pytest.raises(ConnectorFault, match="left alone"):
        await run.execute(upstream, tool())
    probed.set()
    assert await probe == OK
    assert run.executor.breakers()["pay"].state is BreakerState.CLOSED


async def test_refusals_and_broken_contracts_do_not_open_the_breaker() -> None:
    run = Run(max_attempts=1, breaker_calls=2, breaker_min_calls=2)
    upstream = ScriptedUpstream(*[gone(code="rejected"), gone(code="contract_broken")] * 3)
    for _ in range(6):
        with pytest.raises(ConnectorFault):
            await run.execute(upstream, tool())
    assert run.executor.breakers()["pay"].state is BreakerState.CLOSED


async def test_one_users_trouble_does_not_stop_the_calls_of_another() -> None:
    run = Run(max_attempts=1, breaker_calls=2, breaker_min_calls=2)
    upstream = ScriptedUpstream(gone(), gone())
    upstream.shows = True
    ann, bob = (replace(asked(), behalf=Behalf(name, "i")) for name in ("ann", "bob"))
    for _ in range(3):
        with pytest.raises(ConnectorFault):
            await run.execute(upstream, tool(), ann)
    assert len(upstream.asked) == 2
    assert await run.execute(upstream, tool(), bob) == OK


async def test_a_user_whose_credential_makes_no_difference_shares_the_breaker_of_all() -> None:
    run = Run(max_attempts=1, breaker_calls=2, breaker_min_calls=2)
    upstream = ScriptedUpstream(gone(), gone())
    for name in ("ann", "bob", "cyd"):
        with pytest.raises(ConnectorFault):
            await run.execute(upstream, tool(), replace(asked(), behalf=Behalf(name, "i")))
    assert (len(upstream.asked), run.executor.breakers()["pay"].state) == (2, BreakerState.OPEN)


async def test_a_call_that_was_not_made_for_want_of_a_credential_says_nothing_of_the_server() -> None:
    run = Run(max_attempts=1, breaker_calls=2, breaker_min_calls=2)
    dead = gone(code="credential_expired", **UNSENT)
    upstream = ScriptedUpstream(gone(), gone(), dead, gone())
    upstream.shows = dead
    call = replace(asked(), behalf=Behalf("ann", "i"))
    for of in (asked(), asked()):
        with pytest.raises(ConnectorFault):
            await run.execute(upstream, tool(), of)
    await run.clock.sleep(15.0)
    with pytest.raises(ConnectorFault) as caught:
        await run.execute(upstream, tool(), call)
    assert caught.value is dead
    assert run.executor.breakers()["pay"].state is BreakerState.HALF_OPEN
    with pytest.raises(ConnectorFault, match="gone"):
        await run.execute(upstream, tool())
    assert run.executor.breakers()["pay"].state is BreakerState.OPEN


async def test_a_server_holds_only_so_many_calls_and_more_are_refused_unsent() -> None:
    run, gate = Run(concurrency=1, queue=1), asyncio.Event()
    upstream = ScriptedUpstream(gate)
    first = asyncio.ensure_future(run.execute(upstream, tool(WRITE)))
    second = asyncio.ensure_future(run.execute(upstream, tool(WRITE)))
    while not upstream.asked:
        await asyncio.sleep(0)
    with pytest.raises(LimitFault, match="Too many") as caught:
        await run.execute(upstream, tool(WRITE))
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 1.0)
    gate.set()
    assert await first == await second == OK
    assert run.codes == ["rate_limited", "ok", "ok"]


async def test_waiting_for_a_place_ends_with_the_deadline() -> None:
    run = Run(concurrency=1, queue=1)
    upstream = ScriptedUpstream(asyncio.Event())
    first = asyncio.ensure_future(run.execute(upstream, tool()))
    while not upstream.asked:
        await asyncio.sleep(0)
    with pytest.raises(LimitFault, match="too busy"):
        await run.execute(upstream, tool(), asked(timeout_s=0.01))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await run.execute(upstream, tool()) == OK


async def test_a_connector_that_lets_its_time_run_out_is_one_that_did_not_answer_in_time() -> None:
    run = Run()
    with pytest.raises(OutcomeUnknown) as unknown:
        await run.execute(ScriptedUpstream(TimeoutError()), tool(WRITE))
    assert (run.codes, unknown.value.detail.partition(":")[0]) == (["timeout"], "timeout")


class Asking(Back):
    """The way back to a client that has been asked something for as long as the call has taken."""

    def stood_still(self) -> float:
        return inf


async def test_the_time_in_which_a_client_is_asked_does_not_count() -> None:
    executor, answered = Executor(FakeClock(), CountingIds()), asyncio.Event()
    asking = executor.execute(tool(WRITE), replace(asked(timeout_s=-0.99), back=Asking()), ScriptedUpstream(answered))
    slow = asyncio.ensure_future(asking)
    with pytest.raises(OutcomeUnknown):  # the one that asks nobody is cut off, and the other has had as much time
        await executor.execute(tool(WRITE), asked(timeout_s=-0.9), ScriptedUpstream(asyncio.Event()))
    answered.set()
    await slow


class Sent(Begun):
    """A call that is on its way: `answer` ends as it is told to, `then` is what comes of waiting for the call."""

    def __init__(self, then: Any = OK) -> None:
        self.answer = asyncio.get_running_loop().create_future()
        self.called_off = False
        self._then = then

    def result(self, answer: Any) -> Mapping[str, Any] | None:
        return answer or None

    def call_off(self) -> None:
        self.called_off = True

    async def whole(self) -> Mapping[str, Any]:
        if isinstance(self._then, Exception):
            raise self._then
        return {**self._then, "whole": True}


class Sending(ScriptedUpstream):
    """Has sent a call before it is waited for; after that, it answers as it is scripted to."""

    def __init__(self, *sent: Any) -> None:
        super().__init__()
        self.sent = list(sent)

    def call(self, call: ToolCall) -> Any:
        if isinstance(self.sent[0], Exception):
            raise self.sent.pop(0)
        return self.sent.pop(0) if len(self.sent) > 1 else super().call(call)


async def begun(run: Run, upstream: Sending, of: Tool) -> "asyncio.Task[Mapping[str, Any]]":
    task = asyncio.ensure_future(run.execute(upstream, of))
    await asyncio.sleep(0)
    return task


async def test_a_call_that_has_begun_is_one_attempt_whether_its_answer_is_told_or_has_to_be_waited_for() -> None:
    for answer, told in ((OK, OK), (None, {**OK, "whole": True})):
        run, sent = Run(concurrency=1), Sent()
        task = await begun(run, Sending(sent, None), tool())
        sent.answer.set_result(answer)
        assert await task == told
        assert [(attempt["n"], attempt["code"]) for attempt in run.attempts] == [(1, "ok")]
        assert await run.execute(ScriptedUpstream(), tool()) == OK  # its place is free again


async def test_a_call_that_has_begun_and_fails_is_tried_again_or_unknown_as_any_other() -> None:
    for effect, end in ((READ, ["unavailable", "ok"]), (WRITE, ["unavailable"])):
        run, sent = Run(concurrency=1), Sent(gone())
        task = await begun(run, Sending(sent, None), tool(effect))
        sent.answer.set_exception(gone())
        if effect is READ:
            assert await task == OK
        else:
            with pytest.raises(OutcomeUnknown):
                await task
        assert run.codes == end
        assert run.executor.breakers()["pay"]._shared.lately == tuple(code != "ok" for code in end)


async def test_a_call_that_has_begun_is_called_off_with_whoever_waits_for_it() -> None:
    run, sent = Run(concurrency=1), Sent()
    task = await begun(run, Sending(sent, None), tool())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (sent.called_off, run.codes) == (True, ["cancelled"])
    assert await run.execute(ScriptedUpstream(), tool()) == OK


async def test_a_call_that_cannot_even_begin_for_a_bug_gives_its_place_back() -> None:
    run = Run(concurrency=1)
    with pytest.raises(ZeroDivisionError):
        await run.execute(Sending(ZeroDivisionError()), tool())
    assert run.codes == ["internal"]
    assert await run.execute(ScriptedUpstream(), tool()) == OK
