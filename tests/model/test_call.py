"""A call in flight: every slot is set once, in order."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from gateway.model.call import Call
from gateway.model.facts import Facts, RunRef
from gateway.model.identity import Identity
from gateway.model.tool import Effect, Tool
from tests.pipeline.gate import request

ROOT = Path(__file__).parents[2]
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


def test_every_slot_is_set_by_the_stage_named_beside_it() -> None:
    named = dict(re.findall(r"^    (\w+): .*?# ([^:\n]+)", inspect.getsource(Call), re.MULTILINE))
    assert set(named) == set(Call.__annotations__)
    stages = list((ROOT / "gateway" / "pipeline" / "stages").glob("[!_]*.py"))
    found = [(slot, path.stem) for path in stages for slot in slots_set_in(path)]
    assert len({slot for slot, _ in found}) > 15
    assert [(slot, stage) for slot, stage in found if stage not in named[slot].replace(",", "").split()] == []


def test_nothing_else_sets_a_slot_but_what_makes_calls_of_its_own_and_what_execute_runs() -> None:
    others = [path for path in (ROOT / "gateway").rglob("*.py") if path.parent.name != "stages"]
    setting = {path.stem: slots_set_in(path) for path in others if "Call(" not in path.read_text(encoding="utf-8")}
    assert {stem: slots for stem, slots in setting.items() if slots} == {"fact_tools": {"carries"}, "kept": {"origin"}}


def slots_set_in(path: Path) -> set[str]:
    """Return the slots of a `call` that a file assigns to."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    stored = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    of_calls = [node for node in stored if isinstance(node.value, ast.Name) and node.value.id == "call"]
    return {node.attr for node in of_calls if node.attr in Call.__annotations__}


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
