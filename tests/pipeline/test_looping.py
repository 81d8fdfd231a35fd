"""Agents that go round in circles are warned, and then stopped where the operator says so; others never notice."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.connector import ConnectorFault
from gateway.facts.config import FactsSection
from gateway.loop.config import LoopsSection
from gateway.model.errors import RequestFault
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Waiting
from gateway.store.ports import EventKind
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer, request
from tests.pipeline.people import a_gate

STRICT = {"warn": 3, "block": 5, "say": True}


def watched(gate: Gate | None = None, **section: Any) -> Gate:
    gate = gate or Gate()
    loops = LoopsSection.model_validate(section or STRICT)
    gate.rules.current = replace(gate.rules.current, loops=loops)
    return gate


async def ask(
    gate: Gate, tool: str = "payments_list", arguments: Mapping[str, Any] | None = None, **who: Any
) -> Outcome:
    return (await gate.entry.run(request(tool, arguments or {}, **who))).outcome


def warning(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result.get("_meta", {}).get("io.toolgate/loop")


def is_stopped(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.error.code == "looping"


async def test_the_same_call_again_and_again_is_warned_of_and_then_stopped() -> None:
    gate = watched()
    gate.servers["payments"].calls += [answer({"n": n}, _meta={"kept": 1}) for n in range(5)]
    outcomes = [await ask(gate) for _ in range(7)]
    assert [warning(outcome) for outcome in outcomes[:5]] == [
        None,
        None,
        {"kind": "same", "times": 3, "blockedAt": 5},
        None,
        None,
    ]
    assert isinstance(outcomes[2], Succeeded)
    assert outcomes[2].result["_meta"]["kept"] == 1
    assert "this very call was made 3 times in a row" in outcomes[2].result["content"][-1]["text"]
    assert [is_stopped(outcome) for outcome in outcomes] == [False] * 5 + [True] * 2
    assert len(gate.servers["payments"].asked) == 5


async def test_a_stopped_call_is_on_record_in_its_run_with_the_reason() -> None:
    gate = watched()
    for _ in range(5):
        await ask(gate)
    ended = await gate.entry.run(request("payments_list", {}))
    assert isinstance(ended.outcome, Failed)
    assert isinstance(ended.outcome.error, RequestFault)
    assert "5 times in a row: it is not made again" in ended.outcome.error.message
    [event] = await gate.events(ended.call.id)
    assert (event.kind, event.run_id) == (EventKind.CALL_RECORDED, ended.call.facts.run.id)


async def test_doing_something_else_or_waiting_ends_the_row() -> None:
    gate = watched()
    for _ in range(5):
        await ask(gate)
    assert is_stopped(await ask(gate))
    assert isinstance(await ask(gate, "mail_send", {"to": "a"}), Succeeded)
    assert isinstance(await ask(gate), Succeeded)
    for _ in range(4):
        await ask(gate)
    assert is_stopped(await ask(gate))
    await gate.clock.sleep(601)
    assert isinstance(await ask(gate), Succeeded)


async def test_two_calls_in_turn_are_stopped_too() -> None:
    gate = watched(warn=4, block=6)
    asked = [{"limit": n % 2} for n in range(7)]
    gate.servers["payments"].calls += [answer({"n": n}) for n in range(9)]
    outcomes = [await ask(gate, arguments=each) for each in asked]
    assert warning(outcomes[3]) == {"kind": "swing", "times": 4, "blockedAt": 6}
    assert [is_stopped(outcome) for outcome in outcomes] == [False] * 6 + [True]
    for either in (1, 0, 0, 1, 1):  # going on in the same circle is nothing else
        assert is_stopped(await ask(gate, arguments={"limit": either}))
    assert isinstance(await ask(gate, arguments={"limit": 2}), Succeeded)
    assert isinstance(await ask(gate, arguments={"limit": 1}), Succeeded)


async def test_other_arguments_with_the_very_same_answer_make_no_progress() -> None:
    gate = watched(warn=3, block=4)
    outcomes = [await ask(gate, arguments={"limit": n}) for n in range(5)]
    assert warning(outcomes[2]) == {"kind": "stuck", "times": 3, "blockedAt": 4}
    assert is_stopped(outcomes[4])


async def test_many_effects_that_are_all_answered_alike_are_work() -> None:
    gate = watched()
    outcomes = [await ask(gate, "mail_send", {"to": f"a{n}"}) for n in range(20)]
    assert {warning(outcome) for outcome in outcomes} == {None}


async def test_a_storm_of_retries_and_a_refusal_repeated_are_rows_as_well() -> None:
    gate = watched(Gate(PERMIT_ALL, '@id("no") forbid (principal, action == Gateway::Action::"mail.send", resource);'))
    gate.servers["payments"].calls += [ConnectorFault("no", code="rejected")] * 5
    for _ in range(5):
        assert isinstance(await ask(gate), Failed)
    assert is_stopped(await ask(gate))
    for _ in range(5):
        assert isinstance(await ask(gate, "mail_send", {"to": "a"}), Denied)
    assert is_stopped(await ask(gate, "mail_send", {"to": "a"}))


async def test_declared_polling_waiting_for_a_person_and_the_gateways_own_tools_are_left_alone() -> None:
    gate = watched(a_gate(), **STRICT, polling=["payments.l*"])
    for _ in range(8):
        assert warning(await ask(gate)) is None
        assert isinstance(await ask(gate, "payments_pay", PAYMENT), Waiting)
    facts = watched(Gate(facts=FactsSection()))
    for _ in range(8):
        assert isinstance(await ask(facts, "facts_list", {"scope": "run"}), Succeeded)


async def test_each_run_and_each_agent_has_its_own_row() -> None:
    gate = watched()
    for _ in range(3):
        for run in ("one", "two"):
            for agent in ("payer", "other"):
                assert isinstance(await ask(gate, run=run, agent=agent), Succeeded)


async def test_by_default_nobody_is_stopped_and_only_the_meta_says_something() -> None:
    gate = Gate()
    outcomes = [await ask(gate) for _ in range(25)]
    said = [number for number, outcome in enumerate(outcomes, 1) if warning(outcome)]
    assert said == [10, 20]
    assert isinstance(outcomes[9], Succeeded)
    assert outcomes[9].result["content"] == []


async def test_answers_that_no_json_can_hold_are_never_alike() -> None:
    gate = watched()
    gate.servers["payments"].calls += [answer({"broken": "\ud800"})] * 6
    outcomes = [await ask(gate, arguments={"limit": n}) for n in range(6)]
    assert not any(is_stopped(outcome) for outcome in outcomes)


async def test_it_can_be_turned_off() -> None:
    gate = watched(warn="never")
    assert {warning(await ask(gate)) for _ in range(12)} == {None}


def test_a_block_comes_after_a_warning() -> None:
    with pytest.raises(ValidationError, match="has to be more than `warn`"):
        LoopsSection(warn=5, block=5)
    assert LoopsSection(warn="never", block=2).block == 2


def test_how_long_a_row_lasts_is_a_duration() -> None:
    assert LoopsSection(within="90s").within == "90s"
    with pytest.raises(ValidationError, match="no duration"):
        LoopsSection(within="a while")
