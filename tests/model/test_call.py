"""A call in flight: every slot is set once, in order."""

import pytest

from gateway.model.call import Call
from gateway.model.facts import Facts, RunRef
from gateway.model.identity import Identity
from gateway.model.tool import Effect, Tool
from tests.pipeline.gate import request

TOOL = Tool("a.b", "a_b", "a", "b", 1, "sha256:0", Effect.READ, {}, {})


def gathered() -> Call:
    call = Call("call_1", request("a_b", {"x": 1}), 5)
    call.identity = Identity("payer", "local", "local:payer")
    call.tool = TOOL
    call.as_task = False
    call.arguments = {"x": 1}
    call.arguments_digest = "sha256:1"
    call.facts = Facts(5, RunRef("run_1", "payer", "open"))
    call.step_key = None
    return call


def test_a_slot_that_no_stage_has_set_cannot_be_read() -> None:
    call = Call("call_1", request("a_b"), 5)
    assert not call.has("tool")
    with pytest.raises(AttributeError):
        _ = call.tool


def test_a_slot_is_set_once() -> None:
    call = gathered()
    with pytest.raises(AttributeError, match="tool is set twice"):
        call.tool = TOOL
    with pytest.raises(AttributeError, match="step_key is set twice"):
        call.step_key = "k"  # None is a value, too


def test_there_are_no_other_slots() -> None:
    with pytest.raises(AttributeError):
        gathered().nonsense = 1  # type: ignore[attr-defined]  # that is the point


def test_a_call_decided_again_keeps_what_the_facts_do_not_change() -> None:
    call = gathered()
    again = call.decided_again()
    assert (again.id, again.request, again.received_ms) == (call.id, call.request, 5)
    assert (again.identity, again.tool, again.arguments, again.arguments_digest) == (
        call.identity,
        call.tool,
        call.arguments,
        call.arguments_digest,
    )
    assert not any(again.has(name) for name in ("facts", "step_key", "bundle", "decision", "given", "intent"))
