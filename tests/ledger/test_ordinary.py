"""What is written of an ordinary call in one go is what would be written of it piece by piece, to the byte."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.codec import dump
from gateway.ledger.entries import claim_body, end_body, record_body
from gateway.ledger.ordinary import Ordinary
from gateway.ledger.parts import Parts
from gateway.model.answers import Label, Source
from gateway.model.bill import NO_BILL, Bill, Left
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault
from gateway.model.facts import Approval, Expected, FactKey, Facts, Held, RunRef, StepStatus
from gateway.model.identity import ClientInfo, Credential
from gateway.model.outcome import Failed, Outcome, Succeeded
from gateway.model.request import Caller, Promise, Undoing
from gateway.redaction.redactor import Redactor
from gateway.store import bodies
from gateway.store.ports import Ending, Intent, Record
from gateway.store.removable import Text, Written
from tests.ledger.making import FACTS, GIVEN, IDENTITY, PRIOR, RUN, T0, decided, tool

SECRET = "ghs8Kd02LxqPz7TtVvWw"
LASTING = replace(GIVEN, context={"base": {"env": "x"}}, lasting=True)
PLAIN = Facts(now_ms=T0, run=RUN, step=3, environment="staging")
RESULT = {"content": [{"type": "text", "text": "fine"}], "structuredContent": {"n": 2**53, "é": "\U0001f600"}}
ATTEMPT = {"n": 1, "started_ms": T0, "ms": 2, "code": "ok", "reason": "", "status": 200, "bytes": 120}
TOOL = tool()


def answered(arguments: Mapping[str, Any] | None = None, result: Mapping[str, Any] = RESULT, **slots: Any) -> Call:
    """An ordinary call, to its end; `slots` override."""
    known: dict[str, Any] = {"given": LASTING, "facts": PLAIN, "bill": NO_BILL, "tool": TOOL}
    call = decided(arguments={"amount": 1} if arguments is None else arguments, **(known | slots))
    call.attempts = slots.get("attempts", [ATTEMPT])
    call.result, call.text = result, slots.get("text", dump(result))
    return call


def asking(**fields: Any) -> Call:
    """The same, of a request with these fields."""
    call = answered()
    call.request = replace(call.request, **fields)
    return call


class Desk:
    """Writes calls in one go, and piece by piece."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self.redactor = redactor or Redactor([SECRET])
        self.parts = Parts()
        self.ordinary = Ordinary(self.redactor, self.parts)

    def claimed(self, call: Call, body: Mapping[str, Any] | Written | None = None) -> Text:
        body = claim_body(call, self.redactor.record, self.parts) if body is None else body
        told = ("s", "billing", "ann", "payments.pay", call.arguments_digest, "k")
        return bodies.claim_body(Intent(call.id, T0, "run_1", *told, body))

    def ended(self, call: Call, outcome: Outcome, body: Mapping[str, Any] | Written | None = None) -> bytes:
        body = end_body(call, outcome, T0 + 5, self.redactor.record, self.parts) if body is None else body
        return bodies.ending_body(Ending(call.id, T0, StepStatus.SUCCEEDED, body))

    def recorded(self, call: Call, outcome: Outcome, body: Mapping[str, Any] | Written | None = None) -> Text:
        body = record_body(call, outcome, T0 + 5, self.redactor.record, self.parts) if body is None else body
        return bodies.record_body(Record(call.id, T0, "run_1", "billing", "ann", "payments.pay", body))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    "call",
    [
        answered(),
        answered({"text": 'a "quoted"\n\U0001f600', "n": 2**70, "deep": {"a": [1, None, 1.5]}}),
        answered(facts=replace(PLAIN, taint=("untrusted", "from:web"))),
        asking(caller=Caller(Credential("none", ""), "stdio", "2025-11-25", ClientInfo('a"b', ""), trace="0af7")),
    ],
    ids=["plain", "odd arguments", "tainted", "another client"],
)
def test_an_ordinary_call_is_written_as_it_would_be_piece_by_piece(desk: Desk, call: Call) -> None:
    outcome = Succeeded(call.result)
    for _ in range(2):  # the second time what is the same is known
        claim, end = desk.ordinary.claim(call), desk.ordinary.end(call, outcome, T0 + 5, ())
        whole = desk.ordinary.record(call, outcome, T0 + 5, ())
        assert claim is not None
        assert end is not None
        assert whole is not None
        assert desk.claimed(call, claim) == desk.claimed(call)
        assert desk.ended(call, outcome, end) == desk.ended(call, outcome)
        assert desk.recorded(call, outcome, whole) == desk.recorded(call, outcome)


def test_what_an_answer_carries_is_told_with_it(desk: Desk) -> None:
    call = answered()
    for body in (desk.ordinary.end(call, Succeeded(RESULT), T0, ("private",)),):
        assert body is not None
        assert bodies.load(desk.ended(call, Succeeded(RESULT), body))["taint"] == ["private"]


UNUSUAL = {
    "by another tool": lambda: asking(via=TOOL),
    "an undoing": lambda: asking(undoes=Undoing("call_0", IDENTITY)),
    "a draft": lambda: asking(draft="d1"),
    "promised": lambda: asking(promised=Promise("t1", "x", RUN)),
    "not decided": lambda: _without(answered(), "given"),
    "decided for itself": lambda: answered(given=GIVEN),
    "priors": lambda: answered(facts=FACTS),
    "a repeat": lambda: answered(facts=replace(PLAIN, repeat_of="call_0")),
    "approved": lambda: answered(facts=replace(PLAIN, approval=Approval("a", 1, (), T0))),
    "granted": lambda: answered(facts=replace(PLAIN, grant=Approval("a", 1, (), T0))),
    "a budget": lambda: answered(facts=replace(PLAIN, budget=Left(1, "2.0"))),
    "another course": lambda: answered(facts=replace(PLAIN, expected=Expected(1, PRIOR.tool, "call_0"))),
    "facts": lambda: answered(facts=replace(PLAIN, held={"f": Held(FactKey("run", "run_1", "f"), 1, 2)})),
    "not sure": lambda: answered(facts=replace(PLAIN, confidence="0.5")),
    "dry": lambda: answered(facts=replace(PLAIN, dry_run=True)),
    "a run begun anew": lambda: answered(facts=replace(PLAIN, run=replace(RUN, attempt=2, since=7))),
    "a price": lambda: answered(bill=Bill(T0, {"usd": 5})),
    "no JSON": lambda: _with_arguments({"x": object()}),
    "long arguments": lambda: answered({"x": "y" * 300_000}),
    "a secret": lambda: answered({"x": f"see {SECRET}"}),
    "the name of a secret": lambda: answered({"password": "x"}),
    "what looks like a share": lambda: answered({"a": 1, "shared": {"tool": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSUAL)
def test_of_a_call_that_was_made_in_an_unusual_way_nothing_is_written_in_one_go(desk: Desk, case: str) -> None:
    call = UNUSUAL[case]()
    assert desk.ordinary.claim(call) is None
    assert desk.ordinary.record(call, Succeeded(call.result), T0 + 5, ()) is None


ODDLY_ANSWERED = {
    "from the record": lambda: (answered(), Succeeded(RESULT, "call_0")),
    "failed": lambda: (answered(), Failed(ConnectorFault("no"))),
    "another result": lambda: (answered(), Succeeded({**RESULT})),
    "not as JSON": lambda: (answered(text=None), Succeeded(RESULT)),
    "another source": lambda: (answered(source=Source("call_0")), Succeeded(RESULT)),
    "labelled": lambda: (answered(labels=(Label.STALE,)), Succeeded(RESULT)),
    "too long": lambda: (answered(text=b"x" * 300_000), Succeeded(RESULT)),
    "at the second attempt": lambda: (answered(attempts=[ATTEMPT, ATTEMPT]), Succeeded(RESULT)),
    "with a reason": lambda: (answered(attempts=[ATTEMPT | {"reason": SECRET}]), Succeeded(RESULT)),
    "with a secret": lambda: (answered(text=f'"{SECRET}"'.encode()), Succeeded(RESULT)),
}  # fmt: skip


@pytest.mark.parametrize("case", ODDLY_ANSWERED)
def test_of_an_unusual_answer_nothing_is_written_in_one_go(desk: Desk, case: str) -> None:
    call, outcome = ODDLY_ANSWERED[case]()
    assert desk.ordinary.end(call, outcome, T0, ()) is None
    assert desk.ordinary.record(call, outcome, T0, ()) is None


def test_where_a_secret_may_stand_in_json_in_another_form_nothing_is_written_in_one_go() -> None:
    assert Desk(Redactor(['pass"word1234'])).ordinary.claim(answered()) is None


def test_what_is_known_of_others_is_told_of_no_other_call(desk: Desk) -> None:
    call = answered()
    others = [
        answered(facts=replace(PLAIN, run=RunRef("run_2", "billing/ann", "key"))),
        answered(facts=replace(PLAIN, environment="".join(("prod", "uction")))),
        answered(identity=replace(IDENTITY, credential_id="tok_2")),
        answered(tool=tool(version=3)),
        answered(decision=replace(call.decision, policies=("other",))),
    ]
    for other in [call, *others, call]:
        other.request = call.request
        assert desk.claimed(other, desk.ordinary.claim(other)) == desk.claimed(other)


def test_a_secret_that_is_learned_later_is_in_no_shared_part_any_more(desk: Desk) -> None:
    call = answered(given=replace(LASTING, context={"note": "hunter22hunter22"}))
    assert b"hunter22" in desk.claimed(call, desk.ordinary.claim(call)).whole()
    desk.redactor.learn(["hunter22hunter22"])
    assert desk.ordinary.claim(call) is not None
    assert b"hunter22" not in desk.claimed(call, desk.ordinary.claim(call)).whole()


def test_of_callers_and_decisions_a_bounded_number_is_remembered(desk: Desk) -> None:
    calls = [answered(given=replace(LASTING)) for _ in range(1100)]  # each of a caller of its own
    for call in calls:
        assert desk.ordinary.claim(call) is not None
    assert len(desk.ordinary) <= 2 * 1024
    assert desk.claimed(calls[0], desk.ordinary.claim(calls[0])) == desk.claimed(calls[0])


def _without(call: Call, name: str) -> Call:
    delattr(call, name)
    return call


def _with_arguments(arguments: Mapping[str, Any]) -> Call:
    call = answered()
    call.arguments = arguments
    return call
