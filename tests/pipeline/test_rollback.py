"""A run is undone last call first, through the pipeline, each call once; what cannot be undone is said."""

import asyncio
from typing import Any

import pytest

from gateway.catalog.config import ToolRule, Undo
from gateway.ledger.moved import Export, exported, taken_back
from gateway.ledger.settle import settle as settle_call
from gateway.model.errors import ConnectorFault, OutcomeUnknown, RequestFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Failed, Succeeded
from gateway.model.tool import Effect
from gateway.pipeline.rollback import Report
from gateway.store.ports import EventKind
from tests.pipeline.gate import AGENTS, PERMIT_ALL, SECRET, Gate, answer
from tests.pipeline.people import LEADS, PEOPLE

REFUND = Undo(tool="mail.send", arguments={"to": "input.payee"})
RULES = {
    "payments.pay": ToolRule(effect=Effect.IRREVERSIBLE, undo=REFUND),
    "mail.send": ToolRule(effect=Effect.WRITE),
}
RUN = "my work"


def pay(payee: str, number: int = 1) -> dict[str, Any]:
    return {"payment_id": f"p_{number}", "payee": payee, "amount": 5}


async def paid(*payees: str, gate: Gate | None = None, policies: tuple[str, ...] = (PERMIT_ALL,), **more: Any) -> Gate:
    """A gate through which these were paid in one run, one after the other."""
    gate = gate or Gate(*policies, tools=more.pop("tools", RULES), **more)
    for number, payee in enumerate(payees, 1):
        ended = await gate.run("payments_pay", pay(payee, number), run=RUN)
        assert isinstance(ended.outcome, Succeeded), ended.outcome
    return gate


async def run_of(gate: Gate) -> str:
    [summary] = await gate.store.runs("", 10)
    return summary.run.id


async def undo(gate: Gate, after: int = 0) -> Report:
    return await gate.rollback.roll_back(await run_of(gate), "os:op", after)


def sent(gate: Gate) -> list[Any]:
    """To whom the compensation was sent, in order."""
    return [call.arguments["to"] for call in gate.servers["mail"].asked]


def states(report: Report) -> list[tuple[int, str]]:
    return [(step["n"], step["state"]) for step in report.described()["steps"]]


async def test_effects_are_taken_back_last_first_and_reads_left_alone() -> None:
    gate = await paid("a", "b", "c")
    await gate.run("payments_list", {}, run=RUN)
    planned = await gate.rollback.plan(await run_of(gate))
    assert states(planned) == [(3, "to undo"), (2, "to undo"), (1, "to undo")]
    assert sent(gate) == []
    report = await undo(gate)
    assert sent(gate) == ["c", "b", "a"]
    assert report.described()["complete"] is True
    assert [each["tool"] for each in report.undone] == ["mail.send"] * 3
    whats = [event.body for event in await gate.events() if event.kind is EventKind.ADMIN]
    assert ["rollback begun" in whats[0], "rollback ended" in whats[1], len(whats)] == [True, True, 2]
    await gate.store.verify()


async def test_a_run_that_goes_on_elsewhere_is_taken_back_there_and_not_here_as_well() -> None:
    gate = await paid("a")
    run = await gate.store.find_run(await run_of(gate))
    assert run is not None
    export = Export("exp_1", "os:op", "the other house")
    await gate.store.record(exported(run, export, gate.clock.now_ms()))
    with pytest.raises(RequestFault, match="os:op exported it as exp_1 to the other house"):
        await undo(gate)
    assert sent(gate) == []
    await gate.store.record(taken_back(run, export, "os:op", "the file was lost", gate.clock.now_ms()))
    assert (await undo(gate)).described()["complete"] is True
    assert sent(gate) == ["a"]


async def test_a_second_rollback_finds_nothing_left_to_do() -> None:
    gate = await paid("a", "b")
    await undo(gate)
    again = await undo(gate)
    assert (states(again), again.undone, again.stopped) == ([(2, "undone"), (1, "undone")], (), {})
    assert sent(gate) == ["b", "a"]


async def test_what_was_undone_is_history_for_nobody_and_its_key_stays_taken() -> None:
    keyed = {**RULES, "payments.pay": ToolRule(effect=Effect.WRITE, undo=REFUND, idempotency_key=["payment_id"])}
    gate = await paid("a", tools=keyed)
    await undo(gate)
    again = await gate.run("payments_pay", pay("a"), run=RUN)
    assert isinstance(again.outcome, Failed)
    assert again.outcome.error.code == "idempotency_conflict"
    assert "taken back" in again.outcome.error.message
    assert len(gate.servers["payments"].asked) == 1


async def test_the_same_call_without_a_key_may_be_made_anew_after_it_was_undone() -> None:
    gate = await paid("a")
    await undo(gate)
    await paid("a", gate=gate)
    assert len(gate.servers["payments"].asked) == 2


async def test_only_what_came_after_a_step_is_undone() -> None:
    gate = await paid("a", "b", "c")
    report = await undo(gate, after=1)
    assert (sent(gate), states(report)) == (["c", "b"], [(3, "undone"), (2, "undone")])


async def test_a_rollback_stops_where_a_compensation_fails_and_goes_on_from_there() -> None:
    gate = await paid("a", "b", "c")
    gate.servers["mail"].calls += [answer(), ConnectorFault("It is closed.", code="rejected")]
    first = await undo(gate)
    assert states(first) == [(3, "undone"), (2, "to undo"), (1, "to undo")]
    assert (first.stopped["outcome"], "closed" in first.stopped["why"]) == ("failed", True)
    assert first.described()["complete"] is False
    second = await undo(gate)
    assert second.described()["complete"] is True
    assert sent(gate) == ["c", "b", "b", "a"]


async def test_a_compensation_that_answers_with_an_error_undid_nothing() -> None:
    gate = await paid("a")
    gate.servers["mail"].calls.append({"content": [{"type": "text", "text": "too late"}], "isError": True})
    report = await undo(gate)
    assert (states(report), report.stopped["why"]) == ([(1, "to undo")], "too late")


async def test_a_compensation_in_doubt_is_not_repeated_and_settling_it_undoes() -> None:
    gate = await paid("a", "b")
    gate.servers["mail"].calls.append(OutcomeUnknown("Who knows."))
    assert (await undo(gate)).stopped["outcome"] == "unknown"
    stopped = (await undo(gate)).stopped
    assert (stopped["outcome"], sent(gate)) == ("unknown", ["b"])
    [doubtful] = [
        event.call_id
        for event in await gate.events()
        if event.tool == "mail.send" and event.kind is EventKind.CALL_FINISHED
    ]
    said = {"by": "os:op", "note": "it went out"}
    await settle_call(gate.store, doubtful, StepStatus.SUCCEEDED, said, gate.clock.now_ms())
    assert (await undo(gate)).described()["complete"] is True
    assert sent(gate) == ["b", "a"]
    await gate.store.verify()


async def test_compensations_are_decided_by_the_policies_of_today() -> None:
    forbidding = 'forbid (principal, action == Gateway::Action::"mail.send", resource);'
    gate = await paid("a", policies=(PERMIT_ALL, f'@id("no.mail") {forbidding}'))
    report = await undo(gate)
    assert (report.stopped["outcome"], report.stopped["policies"], sent(gate)) == ("denied", ["no.mail"], [])


async def test_a_compensation_that_needs_a_person_waits_and_is_made_once_when_it_is_approved() -> None:
    ask = (
        '@id("ask") @obligation("approval:role:finance-leads") forbid (principal, '
        'action == Gateway::Action::"mail.send", resource) unless { context.base has approval };'
    )
    gate = await paid("a", policies=(PERMIT_ALL, ask, LEADS), people=PEOPLE)
    waiting = (await undo(gate)).stopped
    assert waiting["outcome"] == "waiting"
    [approval] = await gate.approving.desk.listed()
    await gate.approving.desk.approve("bob", approval.id, "yes")
    assert (await undo(gate)).described()["complete"] is True
    assert sent(gate) == ["a"]


async def test_an_agent_that_is_gone_cannot_be_acted_for() -> None:
    gate = await paid("a")
    gate.authenticator.replace({name: agent for name, agent in AGENTS.items() if name != "payer"})
    stopped = (await undo(gate)).stopped
    assert (stopped["outcome"], sent(gate)) == ("failed", [])


async def test_a_call_in_doubt_stays_and_the_rest_is_undone() -> None:
    gate = await paid("a")
    gate.servers["payments"].calls.append(OutcomeUnknown("Who knows."))
    doubtful = await gate.run("payments_pay", pay("b", 2), run=RUN)
    report = await undo(gate)
    [stays, _] = report.described()["steps"]
    assert (stays["state"], f"runs settle {doubtful.call.id}" in stays["why"]) == ("stays", True)
    assert (sent(gate), report.described()["complete"]) == (["a"], False)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (None, "no compensation"),
        ("mail.recall", "mail.recall is not offered"),
        (Undo(tool="mail.send", arguments={"to": "output.receipt"}), "no output.receipt on record"),
        (Undo(tool="mail.send", arguments={"to": "input.payee.name"}), "no input.payee.name on record"),
        (Undo(tool="mail.send", arguments={"to": "input.amount"}), "cannot be called"),
        ("mail.send", "cannot be called"),
    ],
)
async def test_what_cannot_be_undone_is_told_with_the_reason(rule: Any, why: str) -> None:
    gate = await paid("a", tools={**RULES, "payments.pay": ToolRule(effect=Effect.IRREVERSIBLE, undo=rule)})
    [step] = (await undo(gate)).described()["steps"]
    assert (step["state"], why in step["why"]) == ("stays", True)
    assert sent(gate) == []


async def test_arguments_of_the_same_names_are_taken_from_what_was_asked_and_answered() -> None:
    gate = Gate(tools={**RULES, "payments.pay": ToolRule(effect=Effect.IRREVERSIBLE, undo="mail.send")})
    gate.servers["payments"].calls.append(answer({"to": "receipts@acme.example"}))
    await paid("a", gate=gate)
    await undo(gate)
    assert sent(gate) == ["receipts@acme.example"]


async def test_what_was_called_with_a_secret_cannot_be_undone_from_the_record() -> None:
    gate = await paid(SECRET)
    [step] = (await undo(gate)).described()["steps"]
    assert (step["state"], "secret" in step["why"]) == ("stays", True)


async def test_a_call_under_way_stays_and_one_rollback_at_a_time() -> None:
    gate = await paid("a")
    gate.servers["mail"].calls.append(hold := asyncio.Event())
    first = asyncio.ensure_future(undo(gate))
    while not sent(gate):
        await asyncio.sleep(0)
    with pytest.raises(RequestFault, match="just now"):
        await undo(gate)
    hold.set()
    assert (await first).described()["complete"] is True
    gate.servers["payments"].calls.append(hold := asyncio.Event())
    paying = asyncio.ensure_future(gate.run("payments_pay", pay("b", 2), run=RUN))
    while len(gate.servers["payments"].asked) < 2:
        await asyncio.sleep(0)
    [step, _] = (await gate.rollback.plan(await run_of(gate))).described()["steps"]
    assert (step["state"], "under way" in step["why"]) == ("stays", True)
    hold.set()
    await paying


async def test_an_unknown_run_is_refused() -> None:
    gate = Gate()
    with pytest.raises(RequestFault, match="no run"):
        await gate.rollback.plan("run_none")
