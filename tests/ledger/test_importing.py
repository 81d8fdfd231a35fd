"""A run goes on under another gateway: answered from the other's record, decided by the policies of this one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.app.cassette import Unplayable, recorded_run
from gateway.codec import dump
from gateway.config.model import GatewayConfig
from gateway.ledger.evidence import Exporter, Identities
from gateway.ledger.heads import Heads
from gateway.ledger.importing import imported_run, shown_run
from gateway.ledger.moved import Export, exported, let_go_on
from gateway.ledger.proof import NoProof
from gateway.ledger.signing import SigningKey
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.facts import StepStatus
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.pipeline.replay import replay
from gateway.policy import Bundle, bundle_from
from gateway.redaction.redactor import Redactor
from gateway.store.bodies import load
from gateway.store.imports import ImportedRun
from gateway.store.ports import EventFilter
from gateway.store.runs import RunCancel
from tests.fixtures.clock import CountingIds
from tests.ledger.forging import resigned
from tests.ledger.test_forking import fork
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, rules_of
from tests.pipeline.test_resume import TO_BOB, Agent, asked, house
from tests.pipeline.test_rollback import RULES as UNDOABLE
from tests.pipeline.test_tainting import NOTHING_LEAVES, with_labels
from tests.store.making import ending, intent, record

FIRST = ["payments-1", "fraud-1", "payments-2", "payments-3", "payments-4"]


class There:
    """The other gateway, in which an agent listed, checked and paid; its run is to go on here."""

    def __init__(self, path: Path, *policies: str) -> None:
        self.gate = house(*policies)
        self.agent = Agent(self.gate)
        self.key = SigningKey.load(path)
        self.heads = Heads(self.gate.store, self.key, path / "anchor", self.gate.clock)

    async def job(self, agent: Agent) -> list[Any]:
        made = [
            await agent.call("payments_list", {}),
            await agent.call("fraud_check"),
            await agent.call("payments_pay"),
            await agent.call("payments_list", {}),
            await agent.call("payments_settle", TO_BOB),
        ]
        return [each["n"] for each in made]

    async def run_id(self) -> str:
        return (await self.gate.store.runs("payer", 1))[0].run.id

    async def export(self, **wanted: Any) -> list[bytes]:
        run = await self.run_id()
        await self.gate.pause(f"run:{run}")
        await self.seal()
        exporter = Exporter(self.gate.store, self.heads, self.key, self.gate.clock)
        known = EventFilter(**{"run_id": run, "limit": 10_000, **wanted})
        return [line async for line in exporter.lines(known, Identities())]

    async def seal(self) -> None:
        run = await self.gate.store.find_run(await self.run_id())
        assert run is not None
        await self.gate.store.record(exported(run, Export("exp_1", "os:op", "elsewhere"), self.gate.clock.now_ms()))

    async def read(self) -> ImportedRun:
        return self.read_from(await self.export())

    def read_from(self, lines: list[bytes]) -> ImportedRun:
        return imported_run(lines, self.key.jwks(), "here", "os:op", self.gate.clock.now_ms())


@pytest.fixture
def there(tmp_path: Path) -> There:
    return There(tmp_path)


async def here(run: ImportedRun, *policies: str) -> Gate:
    ids = CountingIds()
    for _ in range(1000):
        ids.new("of the other gateway")
    gate = house(*policies, ids=ids)
    await gate.store.import_run(run)
    return gate


async def test_an_agent_goes_on_here_where_it_was_there(there: There) -> None:
    told = await there.job(there.agent)
    gate = await here(await there.read())
    agent = Agent(gate, attempt="a2")  # the same name of the run, the agent's process is another
    assert await there.job(agent) == told
    assert asked(gate) == {}  # nothing was done again
    assert (await agent.call("payments_pay", TO_BOB))["n"] == "payments-1"
    assert (await agent.call("payments_list", {}))["n"] == "payments-2"
    assert await there.job(Agent(gate, attempt="a3")) == told
    assert asked(gate) == {"payments": 2}
    assert await gate.store.verify() > 0
    assert {one.verdict async for one in replay(gate.store, EventFilter(limit=10_000))} == {"equal"}


async def test_an_agent_that_names_the_run_by_its_id_goes_on_too(there: There) -> None:
    told = await there.job(there.agent)
    gate = await here(await there.read())
    agent = Agent(gate, run=await there.run_id(), attempt=None)
    assert await there.job(agent) == told
    assert asked(gate) == {}


async def test_where_it_is_from_stands_beside_every_call(there: There) -> None:
    await there.job(there.agent)
    run = await there.read()
    assert run.told["source"] == there.key.kid
    there_was = {event.call_id: event async for event in there.gate.store.events(EventFilter()) if event.call_id}
    head, *_ = [one async for one in there.gate.store.events(EventFilter(after_seq=run.told["head"]["seq"] - 1))]
    assert run.told["head"]["hash"] == head.hash
    for call in run.calls:
        event = there_was[call.call_id]
        marks = {call.asked["imported"]["hash"], call.ended.get("imported", {}).get("hash")}
        assert event.hash in marks
        assert "decision" not in call.asked
        assert call.asked["there"]["decision"]["allowed"] is True


async def test_no_answer_is_given_that_the_policies_here_refuse(there: There) -> None:
    await there.job(there.agent)
    forbid = '@id("no") forbid (principal, action == Gateway::Action::"payments.pay", resource);'
    gate = await here(await there.read(), PERMIT_ALL, forbid)
    agent = Agent(gate, attempt="a2")
    await agent.call("payments_list", {})
    assert isinstance((await agent.ended("payments_pay")).outcome, Denied)
    assert asked(gate) == {}


async def test_a_check_that_passed_there_is_none_here_and_what_it_was_for_is_still_not_done_twice(
    tmp_path: Path,
) -> None:
    there = There(tmp_path, PERMIT_ALL, PRECONDITION)
    await there.job(there.agent)
    gate = await here(await there.read(), PERMIT_ALL, PRECONDITION)
    agent = Agent(gate, attempt="a2")
    assert (await agent.call("fraud_check"))["n"] == "fraud-1"  # from the record
    refused = (await agent.ended("payments_pay")).outcome
    assert isinstance(refused, Denied)
    assert [each.tool for each in refused.decision.remedies] == ["fraud.check"]
    assert (await agent.ended("payments_pay", TO_BOB)).call.has("decision")
    await agent.call("fraud_check")  # beyond the record: carried out, and so a step of this ledger
    paid = await agent.ended("payments_pay")
    assert isinstance(paid.outcome, Succeeded)
    assert paid.outcome.replayed_from is not None
    assert asked(gate) == {"fraud": 1}
    again = await agent.ended("payments_pay")  # a new one, beyond the record, on the strength of the check made here
    assert isinstance(again.outcome, Succeeded)
    assert asked(gate) == {"fraud": 1, "payments": 1}


async def test_a_check_that_passed_there_is_one_here_where_the_configuration_says_so(tmp_path: Path) -> None:
    there = There(tmp_path, PERMIT_ALL, PRECONDITION)
    told = await there.job(there.agent)
    checked = (await there.agent.ended("fraud_check", TO_BOB)).call.id
    gate = await here(await there.read(), PERMIT_ALL, PRECONDITION)
    bundle = gate.rules.current.bundle
    believing = Bundle.load(
        bundle.sources,
        list(bundle.tools.values()),
        list(bundle.agents.values()),
        replace(bundle.options, imported=True),
    )
    gate.rules.current = replace(gate.rules.current, bundle=believing)
    agent = Agent(gate, attempt="a2")
    assert await there.job(agent) == told  # the payment too: on the facts that it was made on
    assert asked(gate) == {}
    paid = await agent.ended("payments_pay", TO_BOB)
    assert isinstance(paid.outcome, Succeeded)
    assert asked(gate) == {"payments": 1}
    [check] = paid.call.facts.priors.values()
    assert check.call_id == checked
    assert isinstance((await agent.ended("payments_pay", TO_BOB)).outcome, Denied)  # the check was used up
    assert await gate.store.verify() > 0
    assert bundle_from(believing.record()).options.imported is True


async def test_what_was_read_there_taints_here_once_its_answer_is_given(there: There) -> None:
    await there.job(there.agent)
    gate = await here(await there.read(), PERMIT_ALL, NOTHING_LEAVES)
    gate.rules.current = with_labels(gate.rules.current)
    agent = Agent(gate, attempt="a2")
    await agent.call("mail_send", {"to": "ann"})
    await agent.call("payments_list", {})
    refused = (await agent.ended("mail_send", {"to": "eve"})).outcome
    assert isinstance(refused, Denied)
    assert asked(gate) == {"mail": 1}


async def test_what_an_operator_keyed_has_one_effect_in_whichever_run(there: There) -> None:
    await there.job(there.agent)
    gate = await here(await there.read())
    other = Agent(gate, run="another job")
    assert (await other.call("payments_settle", TO_BOB))["n"] == "payments-4"
    changed = (await other.ended("payments_settle", {**TO_BOB, "amount": 8})).outcome
    assert isinstance(changed, Failed)
    assert changed.error.code == "idempotency_conflict"
    assert asked(gate) == {}


async def test_what_failed_or_was_denied_there_is_made_here(tmp_path: Path) -> None:
    there = There(tmp_path, PERMIT_ALL, PRECONDITION)
    there.gate.servers["payments"].calls[:0] = [ConnectorFault("down", sent=False)] * 9
    assert isinstance((await there.agent.ended("payments_settle")).outcome, Failed)
    assert isinstance((await there.agent.ended("payments_pay")).outcome, Denied)
    run = await there.read()
    assert [(call.tool, call.claimed, call.asked["outcome"]) for call in run.calls] == [
        ("payments.settle", False, "failed"),
        ("payments.pay", False, "denied"),
    ]
    gate = await here(run)
    agent = Agent(gate, attempt="a2")
    assert (await agent.call("payments_settle"))["n"] == "payments-1"
    assert (await agent.call("payments_pay"))["n"] == "payments-2"


async def test_what_was_done_there_can_be_taken_back_here_by_the_tools_and_policies_of_this_gateway(
    there: There,
) -> None:
    await there.job(there.agent)
    gate = await here(await there.read())
    gate.rules.current = rules_of(PERMIT_ALL, tools=UNDOABLE)
    report = await gate.rollback.roll_back(await there.run_id(), "os:op")
    assert [(step["tool"], step["state"]) for step in report.described()["steps"] if step["state"] == "undone"] == [
        ("payments.pay", "undone")
    ]
    assert [call.arguments["to"] for call in gate.servers["mail"].asked] == ["ACME"]
    told = (await Agent(gate, attempt="a2").ended("run_brief", {"max_tokens": 500})).outcome
    assert isinstance(told, Succeeded)
    assert "payments.pay" in told.result["content"][0]["text"]


async def test_a_run_goes_on_under_a_third_gateway(there: There, tmp_path: Path) -> None:
    told = await there.job(there.agent)
    (tmp_path / "second").mkdir()
    second = There(tmp_path / "second")
    second.gate = await here(await there.read())
    second.heads = Heads(second.gate.store, second.key, tmp_path / "second" / "anchor", second.gate.clock)
    assert await there.job(Agent(second.gate, attempt="a2")) == told
    run = await second.read()
    paid = next(call for call in run.calls if call.tool == "payments.pay" and call.claimed)
    assert paid.asked["imported"]["before"]["hash"] != paid.asked["imported"]["hash"]
    assert paid.asked["there"]["decision"]["allowed"] is True
    third = await here(run)
    assert await there.job(Agent(third, attempt="a3")) == told
    assert asked(third) == {}


async def test_a_run_is_imported_once(there: There) -> None:
    await there.job(there.agent)
    run = await there.read()
    gate = await here(run)
    with pytest.raises(RequestFault, match="is on record here already"):
        await gate.store.import_run(run)
    with pytest.raises(RequestFault, match="is on record here already"):
        await there.gate.store.import_run(run)


async def test_an_altered_file_or_one_of_another_gateway_is_no_run(there: There, tmp_path: Path) -> None:
    await there.job(there.agent)
    lines = await there.export()
    for number in range(len(lines)):
        altered = lines[number].replace(b"p_17", b"p_71").replace(b'"hash":"2.', b'"hash":"3.')
        if altered != lines[number]:
            with pytest.raises(NoProof):
                there.read_from([*lines[:number], altered, *lines[number + 1 :]])
    with pytest.raises(NoProof):
        there.read_from(lines[:-1])
    with pytest.raises(NoProof):
        imported_run(lines, SigningKey.load(tmp_path / "other").jwks(), "here", "os:op", 0)


async def test_evidence_of_something_else_is_no_run(there: There) -> None:
    await there.job(there.agent)
    [*_, last] = [event async for event in there.gate.store.events(EventFilter())]
    wanted: Mapping[str, Any]
    for wanted in ({"run_id": ""}, {"agent": "payer"}, {"since_ms": 1}, {"run_id": "", "call_id": last.call_id}):
        with pytest.raises(NoProof, match="evidence of something else"):
            there.read_from(await there.export(**wanted))


async def test_a_run_that_may_go_on_there_does_not_go_on_here(there: There) -> None:
    await there.job(there.agent)
    run = await there.run_id()
    exporter = Exporter(there.gate.store, there.heads, there.key, there.gate.clock)
    wanted = EventFilter(run_id=run, limit=10_000)
    with pytest.raises(NoProof, match="was not paused"):
        there.read_from([line async for line in exporter.lines(wanted, Identities())])
    await there.export()
    [pause] = await there.gate.store.pauses()
    await there.gate.store.end_pause(pause)
    with pytest.raises(NoProof, match="was not paused"):
        there.read_from([line async for line in exporter.lines(wanted, Identities())])
    assert there.read_from(await there.export())
    [pause] = await there.gate.store.pauses()
    assert await let_go_on(there.gate.store, run, replace(pause, reason="it never went there"))
    await there.gate.pause(f"run:{run}")
    with pytest.raises(NoProof, match="may still go on there; write it with: toolgate runs export"):
        there.read_from([line async for line in exporter.lines(wanted, Identities())])
    assert there.read_from(await there.export())
    await there.gate.store.cancel_run(RunCancel(run, 0, "os:op"))
    with pytest.raises(NoProof, match="was cancelled"):
        there.read_from(await there.export())


async def test_a_run_with_a_call_in_doubt_is_settled_before_it_goes_on_elsewhere(there: There) -> None:
    await there.job(there.agent)
    there.gate.servers["payments"].calls.insert(0, ConnectorFault("no answer", code="timeout"))
    doubtful = await there.agent.ended("payments_pay", TO_BOB)
    with pytest.raises(NoProof, match=f"{doubtful.call.id} is under way or in doubt"):
        await there.read()


async def test_an_effect_taken_back_there_is_taken_back_here(there: There) -> None:
    await there.job(there.agent)
    paid = (await there.agent.ended("payments_pay")).call.id
    run_id = await there.run_id()
    undo = intent("undo", "payments.refund", agent="payer", run_id=run_id, body={"undoes": paid})
    await there.gate.store.claim(undo)
    await there.gate.store.finish(ending("undo", compensates=paid))
    gate = await here(await there.read())
    made = await gate.store.made(paid)
    assert made is not None
    assert made.status is StepStatus.COMPENSATED
    agent = Agent(gate, attempt="a2")
    assert await there.job(agent) == FIRST
    assert (await agent.call("payments_pay"))["n"] == "payments-1"  # its repeat is a new call


async def test_a_run_that_was_never_opened_is_none(there: There) -> None:
    await there.gate.run("payments_list", {})
    store = there.gate.store
    await store.record(record("stray", run_id="run_x"))
    await there.gate.pause("run:run_x")
    exporter = Exporter(store, there.heads, there.key, there.gate.clock)
    lines = [line async for line in exporter.lines(EventFilter(run_id="run_x"), Identities())]
    with pytest.raises(NoProof, match="does not say how run_x was opened"):
        there.read_from(lines)


async def test_a_result_too_large_for_the_record_is_not_kept_here_either(there: There) -> None:
    there.gate.servers["payments"].calls.insert(0, answer({"n": "x" * 300_000}))
    await there.agent.call("payments_pay")
    gate = await here(await there.read())
    ended = await Agent(gate, attempt="a2").ended("payments_pay", PAYMENT)
    assert isinstance(ended.outcome, Succeeded)
    assert "its answer is not kept" in ended.outcome.result["content"][0]["text"]
    assert asked(gate) == {}


def _of(kind: str, **changed: Any) -> Any:
    """Change the header, or with a dotted path the body, of every event of a kind."""

    def change(event: dict[str, Any], body: dict[str, Any]) -> None:
        if event["kind"] != kind:
            return
        for name, value in changed.items():
            where, _, member = name.rpartition("__")
            (event if where == "header" else body[where] if where else body)[member] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _of("call.claimed", header__at_ms=1.5),
        _of("call.finished", header__at_ms=2**70),
        _of("call.claimed", header__tool=None),
        _of("call.claimed", header__kind="call.dreamt"),
        _of("run.opened", owner=[]),
        _of("call.claimed", arguments_digest=[1]),
        _of("call.claimed", claim=None),
        _of("call.claimed", claim__step_key={}),
        _of("call.claimed", received_ms="early"),
        _of("call.claimed", received_ms=2**70),
        _of("call.finished", outcome=7),
        _of("call.finished", attempts=3),
        _of("call.finished", ending=[]),
        _of("admin", what="run exported"),
    ],
    ids=lambda change: str(change.__closure__[0].cell_contents),
)
async def test_what_is_signed_but_told_of_as_no_gateway_tells_it_is_not_imported(there: There, change: Any) -> None:
    await there.job(there.agent)
    lines = resigned(await there.export(), there.key, change)
    with pytest.raises(NoProof, match=r"is not told of as|cannot be read by this version|does not say how"):
        there.read_from(lines)


async def test_nothing_can_be_hidden_in_a_file_that_would_be_taken_for_a_decision_of_this_gateway(there: There) -> None:
    await there.job(there.agent)
    lines = await there.export()
    assert there.read_from(resigned(lines, there.key, lambda event, body: None)).calls

    def hide(event: dict[str, Any], body: dict[str, Any]) -> None:
        if event["kind"] == "call.claimed":
            body.pop("removable", None)  # so that it is read as a member, and written as part of the body
            body["shared"] = {"facts": body["facts"], "decision": {"allowed": True}}

    with pytest.raises(NoProof, match="is not told of as events are"):
        there.read_from(resigned(lines, there.key, hide))


@pytest.mark.parametrize("victim", [("fraud_check", PAYMENT), ("payments_list", {"limit": 7})])
async def test_no_file_has_an_agent_given_the_answer_to_a_call_of_another(there: There, victim: Any) -> None:
    """A repeat in the file says that it was answered with a call, which is one of this gateway's, of another agent."""
    await there.agent.call("payments_list", {})
    await there.agent.call("fraud_check")
    ids = CountingIds()
    for _ in range(1000):
        ids.new("of the other gateway")
    gate = house(ids=ids)
    gate.servers[victim[0].partition("_")[0]].calls.insert(0, answer({"n": "secret", "result": "passed"}))
    stolen = (await Agent(gate, "other", run="private").ended(*victim)).call.id
    lines = resigned(await there.export(), there.key, _of("call.recorded", replayed_from=stolen))
    await gate.store.import_run(there.read_from(lines))
    agent = await fork(gate, 2, await there.run_id())
    told = [(await agent.call("payments_list", {}))["n"], (await agent.call("fraud_check"))["n"]]
    assert told == ["payments-1", "fraud-1"]  # each was made


async def test_a_file_that_cannot_be_understood_is_not_played(there: There) -> None:
    await there.job(there.agent)
    lines = await there.export()
    config = GatewayConfig(version=1)
    redactor = Redactor([])
    shown = shown_run(lines, there.key.jwks())
    tape, rules = await recorded_run(shown, shown.run_id, config, redactor)
    assert (len(tape), rules.catalog.find("payments.pay") is None) == (5, False)
    odd = shown_run(resigned(lines, there.key, _of("call.claimed", received_ms="early")), there.key.jwks())
    with pytest.raises(Unplayable, match="cannot read what is on record"):
        await recorded_run(odd, odd.run_id, config, redactor)


def _poison(event: dict[str, Any]) -> dict[str, Any]:
    for tool in event["tools"]:
        if tool["name"] == "mail.send":
            tool["definition"]["description"] = "Sends.\u202e"
    return event


async def test_a_tool_with_hidden_text_is_not_shown_from_a_file(there: There) -> None:
    await there.job(there.agent)
    shown = shown_run(await there.export(), there.key.jwks())
    kept = [
        replace(event, body=dump(_poison(load(event.body.encode()))).decode()) if event.kind == "bundle.kept" else event
        for event in shown.shown
    ]
    _, rules = await recorded_run(replace(shown, shown=kept), shown.run_id, GatewayConfig(version=1), Redactor([]))
    assert [rules.catalog.find(name) is None for name in ("mail.send", "payments.pay")] == [True, False]
