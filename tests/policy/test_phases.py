"""`phases:` of a workflow: what a run may do in which part of its work, and how it goes on to the next."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.model.decision import Decision, Ruling
from gateway.model.facts import Approver, PriorScope, Step, StepStatus
from gateway.model.tool import Tool
from gateway.policy import (
    PHASE,
    Bundle,
    PolicyLoadError,
    PolicySource,
    WorkflowSection,
    approved,
    compile_workflows,
    decide,
    decision_input,
    may_approve,
    phased,
)
from gateway.policy.given import Question
from gateway.workflow.own_tools import OWN_SERVER, PHASE_TOOL
from tests.policy.acme import AGENTS, CHECK, LETTER, LIST, MAIL, PAY, PAYER, PAYMENT, PERMIT_ALL, facts, step, tool

GO_ON = tool(f"{OWN_SERVER}.{PHASE_TOOL['name']}", PHASE_TOOL["inputSchema"], output_schema=PHASE_TOOL["outputSchema"])
TOOLS = (CHECK, PAY, LIST, MAIL, GO_ON)
PARTS: list[dict[str, Any]] = [
    {"name": "retrieval", "calls": ["payments.list", "fraud.*"]},
    {"name": "planning", "calls": ["fraud.*"]},
    {"name": "execution", "calls": ["payments.pay"], "plan": "leads"},
]
BOB = Approver("bob", ("leads",))


def section(*phases: dict[str, Any], **more: Any) -> WorkflowSection:
    return WorkflowSection.model_validate({"phases": phases or PARTS, **more})


def load(**workflows: WorkflowSection) -> Bundle:
    workflows = workflows or {"pay": section()}
    return Bundle.load([PolicySource("all", PERMIT_ALL), *compile_workflows(workflows, TOOLS)], TOOLS, AGENTS)


def entered(phase: str, status: StepStatus = StepStatus.SUCCEEDED, **more: str) -> Step:
    return step(PHASE, arguments={"phase": phase, **more}, output={"run": "run_1", "phase": phase}, status=status)


def asked(bundle: Bundle, called: Tool, arguments: dict[str, Any], last: Step | None, of: str = "pay") -> Decision:
    known = facts() if last is None else facts(**{f"{of}_phase": last})
    return decide(bundle, decision_input(bundle, PAYER, called, arguments, known))


def test_a_call_belongs_to_its_phases_and_is_refused_in_others_with_what_ends_them() -> None:
    bundle = load()
    allowed = {
        None: {"payments.list", "fraud.check"},
        "retrieval": {"payments.list", "fraud.check"},
        "planning": {"fraud.check"},
        "execution": {"payments.pay"},
    }
    for phase, names in allowed.items():
        last = None if phase is None else entered(phase)
        for called, arguments in ((LIST, {}), (CHECK, PAYMENT), (PAY, PAYMENT)):
            assert asked(bundle, called, arguments, last).allowed is (called.name in names), (phase, called.name)
        assert asked(bundle, MAIL, LETTER, last).allowed  # belongs to none
    early = asked(bundle, PAY, PAYMENT, None).message
    assert early == (
        'This run is in the phase "retrieval", and this call belongs to "execution". '
        'run_phase {"phase": "planning"} ends it.'
    )
    late = asked(bundle, LIST, {}, entered("execution")).message
    assert late.endswith('belongs to "retrieval". It is the last one: begin another run for it.')
    planning = asked(bundle, LIST, {}, entered("planning")).message
    assert 'run_phase {"phase": "execution", "plan": "<what you will do; leads approve it>"} ends it.' in planning


@pytest.mark.parametrize(
    ("last", "to", "goes"),
    [
        (None, "retrieval", True),
        (None, "planning", True),
        (None, "execution", False),
        ("retrieval", "planning", True),
        ("planning", "planning", True),
        ("planning", "retrieval", False),
        ("execution", "planning", False),
        ("execution", "retrieval", False),
        ("planning", "acting", False),
    ],
)
def test_a_run_goes_from_one_phase_to_the_next_and_never_back(last: str | None, to: str, goes: bool) -> None:
    step = None if last is None else entered(last)
    plain = [{**part, "plan": None} for part in PARTS]
    assert asked(load(pay=section(*plain)), GO_ON, {"phase": to}, step).allowed is goes


def test_a_rule_may_lead_back() -> None:
    back = [PARTS[0] | {"after": ["planning"]}, PARTS[1], PARTS[2] | {"plan": None, "after": ["retrieval", "planning"]}]
    bundle = load(pay=section(*back))
    assert asked(bundle, GO_ON, {"phase": "retrieval"}, entered("planning")).allowed
    assert asked(bundle, GO_ON, {"phase": "execution"}, None).allowed
    assert asked(bundle, GO_ON, {"phase": "retrieval"}, None).allowed  # it is there already
    assert not asked(bundle, GO_ON, {"phase": "retrieval"}, entered("execution")).allowed
    assert "ends it" in asked(bundle, PAY, PAYMENT, entered("planning")).message


def test_a_phase_with_a_plan_begins_once_the_right_people_approved_the_plan() -> None:
    bundle, planning = load(), entered("planning")
    assert asked(bundle, GO_ON, {"phase": "execution"}, planning).ruling is Ruling.DENY
    wanted = {"phase": "execution", "plan": "pay p_17"}
    decision = asked(bundle, GO_ON, wanted, planning)
    assert (decision.ruling, decision.obligations) == (Ruling.NEEDS_APPROVAL, (("approval", "leads"),))
    given = decision_input(bundle, PAYER, GO_ON, wanted, facts(pay_phase=planning))
    assert approved(bundle, given, [BOB]).allowed
    assert not approved(bundle, given, [Approver("dan")]).allowed
    question = Question(PAYER, GO_ON, wanted, facts(pay_phase=planning))
    assert may_approve(bundle, BOB, question).allowed
    assert not may_approve(bundle, Approver("dan"), question).allowed
    assert asked(bundle, GO_ON, wanted, None).ruling is Ruling.DENY  # nobody is asked too early


def test_a_phase_that_was_not_entered_for_certain_or_is_declared_no_more_lets_nothing_through() -> None:
    bundle = load(pay=section(*[{**part, "plan": None} for part in PARTS]))
    for last in (entered("planning", StepStatus.FAILED), entered("gone"), entered("planning", StepStatus.EXECUTING)):
        for called, arguments in ((LIST, {}), (CHECK, PAYMENT), (PAY, PAYMENT)):
            decision = asked(bundle, called, arguments, last)
            assert not decision.allowed
            assert "is not known" in decision.message
    assert asked(bundle, GO_ON, {"phase": "planning"}, entered("planning", StepStatus.FAILED)).allowed
    assert not asked(bundle, GO_ON, {"phase": "execution"}, entered("planning", StepStatus.FAILED)).allowed


def test_workflows_with_a_key_have_phases_of_their_own() -> None:
    plain = [{**part, "plan": None} for part in PARTS]
    bundle = load(pay=section(*plain, key="payment_id"), mail=section({"name": "writing", "calls": ["mail.send"]}))
    ours = entered("execution", workflow="pay")
    assert asked(bundle, PAY, PAYMENT, ours).allowed
    assert not asked(bundle, PAY, PAYMENT, entered("writing")).allowed  # that is the other one's: pay has not begun
    assert asked(bundle, LIST, {}, entered("writing")).allowed
    assert asked(bundle, MAIL, LETTER, ours, of="mail").allowed
    assert asked(bundle, GO_ON, {"phase": "planning", "workflow": "pay", "key": "p_17"}, None).allowed
    unknown = asked(bundle, GO_ON, {"phase": "planning"}, None)
    assert unknown.message.startswith("There is no such phase. Those there are, by workflow: pay: retrieval, planning,")
    early = asked(bundle, PAY, PAYMENT, None)
    assert 'run_phase {"phase": "planning", "workflow": "pay", "key": "<payment_id>"}' in early.message


def test_what_belongs_to_a_phase_is_named_by_tool_or_pattern_and_never_the_way_on_itself() -> None:
    everything = section({"name": "all", "calls": ["*"]})
    assert phased(everything, [tool.name for tool in TOOLS]) == sorted({t.name for t in TOOLS} - {PHASE})
    queries = load().priors_for("payments.pay")
    assert [(query.tool, query.scope, query.bindings) for query in queries] == [(PHASE, PriorScope.RUN, ())]


def test_however_many_tools_belong_to_a_phase_they_are_held_to_it() -> None:
    many = [tool(f"crm.{'x' * 250}_{number}", LIST.input_schema) for number in range(250)]
    parts = section(PARTS[0], {"name": "acting", "calls": ["crm.*"]})
    tools = [*TOOLS, *many]
    bundle = Bundle.load([PolicySource("all", PERMIT_ALL), *compile_workflows({"pay": parts}, tools)], tools, AGENTS)
    for called in (many[0], many[155], many[-1]):
        assert not asked(bundle, called, {}, None).allowed
        assert asked(bundle, called, {}, entered("acting")).allowed
        assert not asked(bundle, called, {}, entered("gone")).allowed


@pytest.mark.parametrize(
    ("workflows", "said"),
    [
        ({"pay": section({"name": "a", "calls": ["payments.nothing"]})}, "'payments.nothing' is no pinned tool"),
        ({"pay": section(), "mail": section()}, "'pay' and 'mail' have phases and no key"),
    ],
)
def test_what_cannot_be_compiled_is_said(workflows: dict[str, WorkflowSection], said: str) -> None:
    with pytest.raises(PolicyLoadError) as refused:
        compile_workflows(workflows, TOOLS)
    assert said in str(refused.value)


RULES = [{"call": "payments.pay", "require": [{"call": "fraud.check"}]}]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "`rules`, `phases`, or both"),
        ({"rules": RULES}, "`rules` need a `key`"),
        ({"phases": [PARTS[0], PARTS[0]]}, "the same name"),
        ({"phases": [PARTS[0] | {"after": ["later"]}]}, "no phase of this workflow"),
        ({"phases": [PARTS[2]]}, "no plan can come before it"),
    ],
)
def test_what_makes_no_sense_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WorkflowSection.model_validate(said)
