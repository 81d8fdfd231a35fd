"""A run is played back: every call of it is answered as it was, and nothing else is answered."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.cut import CUT
from gateway.codec import digest
from gateway.connector.upstream import ToolCall
from gateway.ledger.trace import call_lines
from gateway.model.errors import ConnectorFault
from gateway.model.facts import Approver
from gateway.model.operation import operation
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.model.request import DryRun
from gateway.pipeline.cassette import Player, Tape, differences
from gateway.pipeline.entry import Entry
from gateway.pipeline.on_tape import OnTape
from gateway.pipeline.rules import Limits
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.validate import Validate
from gateway.store.ports import EventFilter
from tests.pipeline.gate import JOIN, PAYMENT, PERMIT_ALL, PRECONDITION, SECRET, Gate, answer, request

ASKS = """
@id("ask") @obligation("approval:any") @message("A person looks at it.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless { context.base has approval && context.base.approval.argsMatch };
"""


class Deck:
    """A gate, and its run `job` played back."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.asked = 0

    async def load(self) -> None:
        [run] = [each.run.id for each in await self.gate.store.runs("", 10) if "job" in each.key]
        lines = [line async for line in call_lines(self.gate.store, EventFilter(run_id=run))]
        gate = self.gate
        self.tape = Tape(run, lines, gate.redactor.record)
        door = gate.authenticator, Admit(gate.admission), Validate(gate.redactor.found_in)
        player = Player(self.tape, door, gate.rules, gate.kept, (gate.ids, gate.clock))
        self.entry = Entry(player, gate.rules, gate.kept, gate.looping)
        self.before = await gate.events()
        self.asked = sum(len(server.asked) for server in gate.servers.values())

    async def run(self, tool: str, arguments: Any = PAYMENT, agent: str = "payer", **more: Any) -> Outcome:
        return (await self.entry.run(request(tool, arguments, agent, **more))).outcome

    async def check_untouched(self) -> None:
        assert await self.gate.events() == self.before
        assert sum(len(server.asked) for server in self.gate.servers.values()) == self.asked


async def recorded(*calls: tuple[str, Any], policies: tuple[str, ...] = (PERMIT_ALL,), **more: Any) -> Deck:
    """Record calls of the run `job`: a tool, and what its server answers (None: nothing is asked of it)."""
    gate = Gate(*policies, **more)
    deck = Deck(gate)
    for tool, answered in calls:
        if answered is not None:
            gate.servers[tool.partition("_")[0]].calls.append(answered)
        await gate.run(tool, {} if tool == "payments_list" else PAYMENT, run="job")
    await deck.load()
    return deck


def text_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed), outcome
    return f"{outcome.error.code}: {outcome.error.message}"


async def test_answers_refusals_and_failures_come_again_in_their_order() -> None:
    deck = await recorded(
        ("payments_pay", None),
        ("fraud_check", answer({"result": "passed"})),
        ("payments_pay", answer({"receipt": "r_1"})),
        ("payments_list", ConnectorFault("not so", code="rejected")),
        ("payments_list", answer(["p_1"])),
        policies=(PERMIT_ALL, PRECONDITION),
    )
    denied = await deck.run("payments_pay")
    assert isinstance(denied, Denied)
    assert [remedy.tool for remedy in denied.decision.remedies] == ["fraud.check"]
    checked = await deck.run("fraud_check")
    assert isinstance(checked, Succeeded)
    assert checked.replayed_from == "call_3"
    paid = await deck.run("payments.pay")
    assert isinstance(paid, Succeeded)
    assert paid.result["structuredContent"] == {"receipt": "r_1"}
    failed = await deck.run("payments_list", {})
    assert text_of(failed) == "rejected: not so"
    assert isinstance(await deck.run("payments_list", {}), Succeeded)
    report = deck.tape.report()
    assert (report["as_recorded"], report["matched"], report["left_out"]) == (True, 5, {})
    await deck.check_untouched()


async def test_a_call_in_doubt_and_one_under_way_when_the_gateway_died_stay_unknown() -> None:
    gate = Gate(PERMIT_ALL)
    gate.servers["payments"].calls.append(ConnectorFault("no answer", code="timeout"))
    await gate.run("payments_pay", run="job")
    deck = Deck(gate)
    call = await gate.before(type(gate.stages[7]), request("payments_settle", run="job"))
    assert call.intent
    await deck.load()
    doubtful, killed = await deck.run("payments_pay"), await deck.run("payments_settle")
    assert isinstance(doubtful, Unknown)
    assert isinstance(killed, Unknown)
    assert "under way when the recording ended" in killed.error.message


async def test_a_call_that_waited_for_people_waits_again() -> None:
    people = (Approver("ann", (), ()),)
    deck = await recorded(("payments_pay", None), policies=(PERMIT_ALL, ASKS), people=people)
    waits = await deck.run("payments_pay")
    assert isinstance(waits, Waiting)
    assert waits.approval == waits.on != ""


async def test_what_is_not_on_record_says_how_it_differs_from_the_nearest() -> None:
    deck = await recorded(("payments_pay", answer({"receipt": "r_1"})), ("fraud_check", answer({"result": "passed"})))
    other = text_of(await deck.run("payments_pay", {**PAYMENT, "amount": 9, "payment_id": SECRET}))
    assert other.startswith("not_on_record: Run run_2 is only played back")
    assert "Nearest is step 1, which differs: changed amount, payment_id." in other
    again = await deck.run("payments_pay")
    assert isinstance(again, Succeeded)
    assert "It was made 1 times (step 1), and that was answered already." in text_of(await deck.run("payments_pay"))
    nowhere = text_of(await deck.run("payments_list", {}))
    assert "payments.list was never called. Expected is step 2, fraud.check." in nowhere
    assert isinstance(await deck.run("fraud_check"), Succeeded)
    assert "payments.list was never called." in text_of(await deck.run("payments_list", {"limit": 1}))
    report = deck.tape.report()
    assert (report["as_recorded"], report["missing"], len(report["diverged"])) == (False, [], 4)
    assert SECRET not in str(report)
    await deck.check_untouched()


async def test_what_no_policy_was_asked_about_is_refused_as_it_was_then() -> None:
    deck = await recorded(("fraud_check", answer({"result": "passed"})))
    assert text_of(await deck.run("nowhere")).startswith("unknown_tool")
    assert text_of(await deck.run("fraud_check", {"amount": "much"})).startswith("invalid_arguments")
    assert text_of(await deck.run("fraud_check", {"amount": float("nan")})).startswith("invalid_arguments")
    stranger = await deck.entry.run(request("fraud_check", agent="nobody"))
    assert text_of(stranger.outcome).startswith("unauthenticated")
    await deck.entry.refuse(request("fraud_check"), ConnectorFault("too large"))
    report = deck.tape.report()
    assert (report["diverged"], [one["step"] for one in report["missing"]]) == ([], [1])
    await deck.check_untouched()


async def test_nobody_is_answered_what_another_was() -> None:
    gate = Gate(PERMIT_ALL, JOIN)
    gate.servers["fraud"].calls += [answer({"result": "passed"}), answer({"result": "failed"})]
    await gate.run("fraud_check", run="job")
    run = (await gate.store.runs("", 1))[0].run.id
    deck = Deck(gate)
    await deck.load()
    assert "No call of other is: it was made by payer." in text_of(await deck.run("fraud_check", agent="other"))
    await gate.run("fraud_check", agent="other", run=run)
    await deck.load()
    answered = await deck.run("fraud_check", agent="other")
    assert isinstance(answered, Succeeded)
    assert answered.result["structuredContent"] == {"result": "failed"}


async def test_a_step_that_comes_after_a_later_one_is_told_as_late() -> None:
    deck = await recorded(("fraud_check", answer({"result": "passed"})), ("payments_list", answer([])))
    await deck.run("payments_list", {})
    await deck.run("fraud_check")
    report = deck.tape.report()
    assert (report["as_recorded"], [(one["step"], one["after"]) for one in report["late"]]) == (True, [(1, 2)])


async def test_a_repeat_that_was_answered_from_the_record_need_not_come() -> None:
    paid = ("payments_settle", answer({"receipt": "r_1"}))
    deck = await recorded(paid, ("payments_settle", None))
    assert len(deck.tape) == 1
    await deck.run("payments_settle")
    assert deck.tape.report()["as_recorded"]
    assert isinstance(await deck.run("payments_settle"), Succeeded)
    assert text_of(await deck.run("payments_settle")).startswith("not_on_record")


async def test_a_dry_run_is_answered_as_the_dry_run_it_was() -> None:
    gate = Gate(PERMIT_ALL)
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check", run="job")
    await gate.run("fraud_check", run="job", dry_run=DryRun())
    deck = Deck(gate)
    await deck.load()
    assert text_of(await deck.run("fraud_check", dry_run=DryRun())).startswith("dry_run")
    assert isinstance(await deck.run("fraud_check"), Succeeded)


async def test_an_answer_that_was_too_large_to_keep_is_told_as_such() -> None:
    deck = await recorded(("payments_list", answer("x" * 300_000)))
    assert "is not kept" in text_of(await deck.run("payments_list", {}))


async def test_a_long_answer_is_cut_again_and_can_be_read_on_in() -> None:
    deck = await recorded(("payments_list", {"content": [{"type": "text", "text": "line\n" * 2000}]}))
    rules = deck.gate.rules
    rules.current = replace(rules.current, limits=Limits(results={"payments.list": 1024}))
    cut = await deck.run("payments_list", {})
    assert isinstance(cut, Succeeded)
    more = await deck.run("results_read", {"handle": cut.result["_meta"][CUT]["handle"]})
    assert isinstance(more, Succeeded)
    assert text_of(await deck.run("results_read", {"handle": 1})).startswith("invalid_arguments")
    assert deck.tape.report()["as_recorded"]


READS = """
@id("read") permit (principal, action in [Gateway::Action::"read_resource", Gateway::Action::"get_prompt",
  Gateway::Action::"complete"], resource);
"""


async def test_what_was_read_got_and_completed_is_answered_again() -> None:
    gate = Gate(PERMIT_ALL, READS)
    asked: list[tuple[str, dict[str, Any], Any]] = [
        ("resources/read", {"uri": "mail://1"}, {"contents": [{"uri": "mail://1", "text": "Dear"}]}),
        ("resources/read", {"uri": "mail://1"}, {"contents": []}),
        ("prompts/get", {"name": "reply", "arguments": {"to": "ann"}}, {"messages": []}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "mail://{n}"}}, {"completion": {"values": []}}),
        ("resources/subscribe", {"uri": "mail://1"}, {}),
    ]
    for method, params, answered in asked:
        gate.servers["mail"].calls.append(answered)
        what = operation("mail", method)
        ended = await gate.run(what.name, params, run="job", operation=what)
        assert isinstance(ended.outcome, Succeeded), ended.outcome
    deck = Deck(gate)
    await deck.load()
    for method, params, answered in asked[:-1]:
        what = operation("mail", method)
        again = await deck.run(what.name, params, operation=what)
        assert isinstance(again, Succeeded)
        assert again.result == answered
    read = operation("mail", "resources/read")
    strayed = text_of(await deck.run(read.name, {"uri": "mail://2"}, operation=read))
    assert "Nearest is step 1, which differs: changed uri." in strayed
    report = deck.tape.report()
    assert (report["matched"], report["left_out"]) == (4, {"mail.resources/subscribe": 1})
    await deck.check_untouched()


async def test_a_server_on_tape_has_what_was_asked_of_it_and_is_never_called() -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("resources/read", {"uri": "mail://1"}),
        ("prompts/get", {"name": "reply", "arguments": {"to": "ann"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "reply"}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "mail://{n}"}}),
        ("completion/complete", {"ref": {"type": "ref/another"}}),
    ]
    server = OnTape(asked)
    await server.open()
    assert server.offer().capabilities == {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
    assert await server.listed("resources/list") == [{"uri": "mail://1", "name": "mail://1"}]
    assert await server.listed("resources/templates/list") == [{"uriTemplate": "mail://{n}", "name": "mail://{n}"}]
    assert await server.listed("prompts/list") == [{"name": "reply", "arguments": [{"name": "to"}]}]
    assert (await server.tools(), server.traits("send")) == ((), None)
    with pytest.raises(ConnectorFault, match="is only played back"):
        await server.call(ToolCall("send", {}, "call_1", 1.0))
    await server.close()
    assert OnTape([]).offer().capabilities == {"tools": {}}


async def test_a_run_that_another_gateway_made_is_played_by_what_was_decided_there() -> None:
    deck = await recorded(("payments_pay", None), policies=(PERMIT_ALL, PRECONDITION))
    [line] = [line async for line in call_lines(deck.gate.store, EventFilter())]
    there = {name: line.asked[name] for name in ("decision", "facts")}
    asked = {**{name: value for name, value in line.asked.items() if name not in there}, "there": there}
    tape = Tape(line.run_id, [replace(line, asked=asked)], lambda value: value)
    assert tape.bundles == [there["decision"]["bundle"]]
    door = deck.gate.authenticator, Admit(deck.gate.admission), Validate(deck.gate.redactor.found_in)
    player = Player(tape, door, deck.gate.rules, deck.gate.kept, (deck.gate.ids, deck.gate.clock))
    denied = (await player.run(request("payments_pay"))).outcome
    assert isinstance(denied, Denied)
    assert denied.decision.message == there["decision"]["message"]


async def test_what_was_sent_in_an_older_version_is_found_by_what_was_sent() -> None:
    deck = await recorded(("fraud_check", answer({"result": "passed"})))
    [line] = [line async for line in call_lines(deck.gate.store, EventFilter(tool="fraud.check"))]
    older = replace(line, asked={**line.asked, "sent": {"id": "p_17"}})
    undoing = replace(line, seq=99, asked={**line.asked, "undoes": "call_0"})
    tape = Tape(line.run_id, [older, undoing], lambda value: value)
    found = tape.find("payer", "fraud.check", digest({"id": "p_17"}), is_dry=False)
    assert found is not None
    assert found[0] is older
    assert tape.find("payer", "fraud.check", digest(PAYMENT), is_dry=False) is None
    assert len(tape) == 1


def test_nothing_but_what_was_taken_out_of_the_record_differs() -> None:
    tape = Tape("run_1", [], lambda value: value)
    assert "it was made by nobody" in tape.stray("payer", "fraud.check", {}, "sha256:0").message


@pytest.mark.parametrize(
    ("recorded", "called", "found"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"a": 1.0, "b": {"c": [1, 2]}}, ([], [], [])),
        ({"a": 1}, {"a": True}, (["a"], [], [])),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}, 4]}}, (["a.b[1].c"], [], ["a.b[2]"])),
        ({"a": [1, 2], "x": 0}, {"a": [1], "y": 0}, ([], ["x", "a[1]"], ["y"])),
        ([1], {"a": 1}, (["everything"], [], [])),
        ({str(n): 0 for n in range(30)}, {}, ([], 20, [])),
    ],
)
def test_the_paths_at_which_arguments_differ_are_named(
    recorded: Any, called: Any, found: tuple[list[str], Any, list[str]]
) -> None:
    told = differences(recorded, called)
    left_out = len(told["left out"]) if isinstance(found[1], int) else told["left out"]
    assert (told["changed"], left_out, told["added"]) == found
