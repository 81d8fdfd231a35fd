"""What is written once for many calls is what would be written for each, and nothing secret stays in it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.codec import CodecError, dump, verbatim
from gateway.ledger.entries import claim_body, record_body
from gateway.ledger.parts import Parts
from gateway.model.decision import DecisionInput
from gateway.model.outcome import Succeeded
from gateway.redaction.redactor import Redactor
from gateway.store.bodies import load
from gateway.store.bodies import record_body as written_body
from gateway.store.ports import Record
from tests.ledger.making import DECISION, GIVEN, T0, decided, unchanged

LASTING = replace(GIVEN, lasting=True)


def written(body: Mapping[str, Any]) -> bytes:
    """Return the text of a body as a store writes it."""
    return written_body(Record("call_1", T0, "run_1", "billing", "", "payments.pay", body)).whole()


def read(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return load(written(body))


@pytest.mark.parametrize("given", [GIVEN, LASTING], ids=["for one call", "for many"])
@pytest.mark.parametrize("arguments", [{"amount": 1}, {"amount": 2**70}, {"text": "\U0001f600"}])
def test_a_body_with_known_parts_says_what_one_without_them_says(
    given: DecisionInput, arguments: dict[str, Any]
) -> None:
    parts = Parts()
    for number in range(3):
        call = decided(f"call_{number}", arguments, given=given)
        assert read(claim_body(call, unchanged, parts)) == read(claim_body(call, unchanged))
        ended = Succeeded({"content": [], "n": number})
        assert read(record_body(call, ended, T0, unchanged, parts)) == read(record_body(call, ended, T0, unchanged))


def test_a_secret_that_is_learned_later_is_in_no_known_part_any_more() -> None:
    parts, redactor = Parts(), Redactor()
    call = decided(given=replace(LASTING, context={"input": {"note": "hunter22hunter22"}}))
    assert b"hunter22" in written(claim_body(call, redactor.record, parts))
    redactor.learn(["hunter22hunter22"])
    text = written(claim_body(call, redactor.record, parts))
    assert b"hunter22" not in text
    assert read(claim_body(call, redactor.record, parts)) == read(claim_body(call, redactor.record))


def test_another_decision_on_the_same_input_is_written_as_it_is() -> None:
    parts = Parts()
    for decision in (DECISION, replace(DECISION, allowed=False, message="no")):
        call = decided(given=LASTING, decision=decision)
        assert read(claim_body(call, unchanged, parts)) == read(claim_body(call, unchanged))


def test_what_calls_have_in_common_ends_their_bodies_in_the_same_bytes() -> None:
    parts, ends = Parts(), set()
    first = decided(given=LASTING)
    for number in range(2):
        call = decided(f"call_{number}", {"n": number}, given=LASTING, decision=first.decision, tool=first.tool)
        text = written(claim_body(call, unchanged, parts))
        ends.add(text[text.index(b',"shared":{') :])
    assert len(ends) == 1


def test_of_inputs_made_for_one_call_nothing_is_remembered_and_of_others_a_bounded_number() -> None:
    parts = Parts()
    for number in range(5000):
        given = replace(LASTING, context={"n": number})
        call = decided(given=given, decision=replace(DECISION))
        assert read(claim_body(call, unchanged, parts))["given"]["context"] == {"n": number}
    assert len(parts) <= 4096
    written(claim_body(decided(tool=call.tool, given=GIVEN), unchanged, parts))
    before = len(parts)
    written(claim_body(decided(tool=call.tool, given=replace(GIVEN)), unchanged, parts))
    assert len(parts) == before


def test_what_was_written_before_is_written_as_it_was_also_beside_integers_of_any_size() -> None:
    known = verbatim(b'{"a":1}')
    assert dump({"x": known}) == b'{"x":{"a":1}}'
    assert dump({"x": known, "y": 2**70}) == b'{"x":{"a":1},"y":1180591620717411303424}'
    with pytest.raises(CodecError):
        dump({"x": known, "y": object()})
