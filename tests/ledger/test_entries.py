"""What is written of a call."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.codec import dump
from gateway.ledger.entries import (
    MAX_RESULT_BYTES,
    claim_body,
    end_body,
    facts_from,
    given_in,
    identity_from,
    record_body,
)
from gateway.model.errors import ConnectorFault, IdentityFault, OutcomeUnknown
from gateway.model.facts import Facts
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.redaction.redactor import Redactor
from tests.ledger.making import DECISION, FACTS, GIVEN, IDENTITY, RUN, T0, asked, decided, unchanged


def hide(value: Any) -> Any:
    """Redact the word `secret`, wherever it is."""
    return json.loads(json.dumps(value).replace("secret", "[hidden]"))


def test_a_claim_says_who_asked_for_what_and_why_it_was_allowed() -> None:
    body = claim_body(decided(), unchanged)
    assert body["identity"] == {
        "agent": "billing",
        "method": "token",
        "credential_id": "tok_1",
        "owner": "finance",
        "on_behalf_of": "ann",
        "delegation": ["planner", "billing"],
    }
    assert (body["transport"], body["era"], body["session"], body["trace"]) == ("http", "2026-07-28", "s", None)
    assert body["client"] == {"name": "agent", "version": "1.2"}
    assert body["tool"] == {"name": "payments.pay", "version": 2, "digest": "sha256:tool", "server": "payments"}
    assert body["arguments"] == {"amount": 1}
    assert body["arguments_digest"].startswith("sha256:")
    assert body["decision"] == {
        "allowed": True,
        "ruling": "allow_with_obligations",
        "bundle": "sha256:bundle",
        "policies": ["pay", "limits"],
        "obligations": [["notify", "ops"]],
        "shadow": ["new"],
        "waits_for": None,
        "message": "why not",
        "remedies": [{"tool": "fraud.check", "arguments": {"payment_id": 7}}],
        "errors": ["odd"],
    }
    assert body["given"] == {
        "principal": GIVEN.principal,
        "action": GIVEN.action,
        "resource": GIVEN.resource,
        "context": GIVEN.context,
        "entities": list(GIVEN.entities),
        "notes": GIVEN.notes,
    }
    assert body["received_ms"] == T0


@pytest.mark.parametrize("facts", [FACTS, Facts(now_ms=1, run=RUN, repeat_of="call_9")])
def test_facts_come_back_as_they_were(facts: Facts) -> None:
    written = json.loads(dump(claim_body(decided(facts=facts), unchanged)))
    assert facts_from(written) == facts


def test_nothing_secret_is_written_and_no_credential_ever() -> None:
    call = decided(arguments={"token": "secret"})
    call.attempts = [{"n": 1, "reason": "secret"}]
    call.raw = {"content": "secret"}
    error = ConnectorFault("a secret message", detail="a secret detail")
    for outcome in (Succeeded({"x": "secret"}), Denied(DECISION), Failed(error), Unknown(OutcomeUnknown("secret"))):
        text = dump(record_body(call, outcome, T0 + 5, hide)).decode()
        assert "secret" not in text
        assert "[hidden]" in text


def test_a_refusal_before_anything_is_known_says_what_there_is() -> None:
    body = record_body(asked(), Failed(IdentityFault("Who are you?")), T0 + 5, unchanged)
    assert body["tool"] == {"name": "payments_pay"}
    assert body["outcome"] == "failed"
    assert body["error"] == {"code": "unauthenticated", "message": "Who are you?", "detail": ""}
    assert body["timing"] == {"received_ms": T0, "ended_ms": T0 + 5}
    assert body.keys().isdisjoint({"identity", "arguments", "decision", "given", "facts", "attempts"})


def test_what_an_unknown_caller_sends_is_not_kept() -> None:
    body = claim_body(asked(arguments={"x": "y" * 1000}), unchanged)
    assert "arguments" not in body


def test_arguments_that_were_never_validated_are_kept_of_a_known_caller() -> None:
    call = asked(arguments={"amount": "many"})
    call.identity = IDENTITY
    assert claim_body(call, unchanged)["arguments"] == {"amount": "many"}


def test_a_denial_is_written_with_its_decision_even_where_no_stage_kept_it() -> None:
    body = record_body(asked(), Denied(DECISION), T0, unchanged)
    assert (body["outcome"], body["decision"]["policies"]) == ("denied", ["pay", "limits"])


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Succeeded({"content": []}), {"outcome": "succeeded", "result": {"content": []}}),
        (Succeeded({}, replayed_from="call_0"), {"outcome": "succeeded", "result": {}, "replayed_from": "call_0"}),
        (Denied(DECISION), {"outcome": "denied"}),
        (
            Waiting("call_0", "wait", 3.0),
            {"outcome": "waiting", "waiting": {"on": "call_0", "message": "wait", "retry_after_s": 3.0}},
        ),
        (
            Unknown(OutcomeUnknown("?", detail="d")),
            {"outcome": "unknown", "error": {"code": "outcome_unknown", "message": "?", "detail": "d"}},
        ),
    ],
)
def test_an_ending_says_what_came_of_the_call(outcome: Outcome, said: dict[str, Any]) -> None:
    body = end_body(asked(), outcome, T0 + 5, unchanged)
    assert body == {**said, "timing": {"received_ms": T0, "ended_ms": T0 + 5}}


def test_an_ending_keeps_the_attempts_and_the_answer_that_was_no_success() -> None:
    call = decided()
    call.attempts = [{"n": 1, "code": "ok"}]
    call.raw = {"content": [{"type": "text", "text": "odd"}]}
    body = end_body(call, Unknown(OutcomeUnknown("?")), T0, unchanged)
    assert (body["attempts"], body["raw"]) == ([{"n": 1, "code": "ok"}], call.raw)


def test_a_large_result_is_kept_as_its_digest_and_size() -> None:
    small = {"text": "x" * (MAX_RESULT_BYTES - len('{"text":""}'))}
    large = {"text": small["text"] + "x"}
    assert end_body(asked(), Succeeded(small), T0, unchanged)["result"] == small
    body = end_body(asked(), Succeeded(large), T0, unchanged)
    assert "result" not in body
    assert body["result_bytes"] == MAX_RESULT_BYTES + 1
    assert body["result_digest"].startswith("sha256:")


def test_a_result_that_is_no_json_still_leaves_an_ending() -> None:
    body = end_body(asked(), Succeeded({"x": object()}), T0, unchanged)
    assert "result" not in body
    assert body["result_unreadable"]


def test_a_decision_the_stage_kept_is_not_written_twice() -> None:
    body = record_body(decided(), Denied(DECISION), T0, unchanged)
    assert body["decision"]["policies"] == ["pay", "limits"]
    assert body["facts"]["run"]["id"] == "run_1"


def test_one_pass_takes_the_secrets_out_of_a_whole_event() -> None:
    passes: list[Any] = []

    def counting(value: Any) -> Any:
        passes.append(value)
        return value

    call = decided()
    call.attempts = [{"n": 1}]
    record_body(call, Succeeded({"x": 1}), T0, counting)
    assert [type(value) for value in passes] == [list, tuple]  # the tuple never changes: it is remembered
    assert passes[1] is call.given.entities


def test_a_name_of_ours_is_never_taken_for_the_name_of_a_secret() -> None:
    body = record_body(decided(), Succeeded({"x": 1}), T0, Redactor(keys=["*given*", "*result*", "*arg*"]).record)
    assert body["result"] == {"x": 1}
    assert body["arguments"] == {"amount": 1}
    assert body["given"]["notes"] == GIVEN.notes


def test_who_made_a_call_comes_back_as_far_as_policies_saw_it() -> None:
    known = replace(IDENTITY, teams=("ops",), roles=("lead",), scopes=("pay",))
    written = json.loads(dump(claim_body(decided(identity=known), unchanged)))
    assert identity_from(written) == known
    assert identity_from(json.loads(dump(claim_body(decided(), unchanged)))) == IDENTITY


def test_only_a_decided_call_tells_what_it_was_decided_on() -> None:
    assert given_in(claim_body(decided(), unchanged)) == claim_body(decided(), unchanged)["given"]
    assert given_in(claim_body(asked(), unchanged)) is None
