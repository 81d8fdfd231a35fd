"""The lattice of outcomes: allow, with obligations, after a step, with an approval, or not at all (POLICY.md §3)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import dump, parse
from gateway.model.decision import Ruling
from gateway.model.facts import Facts, StepStatus
from gateway.policy import LoadOptions, Outlook, decide, decision_input, from_json, matrix, to_json, visible
from gateway.policy.given import Approval, Question, Surroundings, compose
from tests.policy.acme import (
    CALL,
    LIST,
    NOW,
    PAY,
    PAYER,
    PAYING,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    RUN,
    TOOLS,
    ask,
    facts,
    forbidding,
    load,
    step,
)

ASKED = "context.base has approval"
APPROVED = f"{ASKED} && context.base.approval.argsMatch"


def yielding(to=APPROVED, name="lead", who="finance-leads", more=""):
    """A forbid of every payment that an approval lifts."""
    return (
        f'@id("{name}") @obligation("approval:{who}") {more} forbid (principal, {PAYING}, resource) unless {{ {to} }};'
    )


def hard(name="hard", condition="true"):
    return forbidding(condition, PAYING).replace('"no"', f'"{name}"')


def pay(*texts, known=None):
    return ask(load(PERMIT_ALL, *texts), PAY, PAYMENT, known)


def test_a_call_that_only_lacks_an_approval_names_whose_would_do():
    decision = pay(yielding(more='@message("Ask a lead.")'))
    assert (decision.ruling, decision.obligations) == (Ruling.NEEDS_APPROVAL, (("approval", "finance-leads"),))
    assert (decision.allowed, decision.policies, decision.remedies) == (False, ("lead",), ())
    assert decision.message.startswith("Ask a lead. It needs a person's approval (finance-leads).")


def test_every_approval_that_is_asked_for_is_named_once():
    decision = pay(yielding(), yielding(name="other", who="security"), yielding(name="again"))
    assert decision.obligations == (("approval", "finance-leads"), ("approval", "security"))
    assert "(finance-leads and security)" in decision.message


@pytest.mark.parametrize(
    "texts",
    [
        (yielding("false"),),  # says so, but no approval lifts it
        (yielding("context.base.dryRun"),),
        (hard(condition=f"!({ASKED})"),),  # an approval lifts it, but it names nobody to ask
        (yielding(), hard()),
        (yielding(), hard(condition=f"!({ASKED})")),
        (yielding(), hard(condition=ASKED)),  # applies to approved calls only
        (yielding(f"{ASKED} && !context.base.approval.argsMatch"),),
        (yielding(f'{ASKED} && context.base.approval.by == principal.owner && principal.owner == Gateway::User::"x"'),),
    ],
)
def test_where_an_approval_would_not_do_the_call_is_denied_without_a_word_of_one(texts):
    decision = pay(*texts)
    assert (decision.ruling, decision.obligations) == (Ruling.DENY, ())
    assert "approval" not in decision.message


def test_an_approval_does_not_help_where_no_policy_permits_the_approved_call():
    never = f'@id("p") permit (principal, {PAYING}, resource) when {{ context.base.dryRun }};'
    assert ask(load(never, yielding()), PAY, PAYMENT).ruling is Ruling.DENY
    approved = never.replace("context.base.dryRun", APPROVED)
    assert ask(load(approved, yielding()), PAY, PAYMENT).ruling is Ruling.NEEDS_APPROVAL
    assert ask(load(approved), PAY, PAYMENT).ruling is Ruling.DENY  # nobody is named whom to ask


BOB = 'context.base.approval.by == Gateway::User::"bob"'


@pytest.mark.parametrize(
    "condition",
    [
        "context.base.approval.by != principal.owner",
        BOB,
        'context.base.approval.by in Gateway::Role::"lead"',
        'context.base.approval.by in Gateway::Role::"lead" && context.base.approval.by in Gateway::Team::"finance"',
        '!(context.base.approval.by in Gateway::Team::"interns")',
        "context.base.approval.quorum >= 3",
        'context.base.now.durationSince(context.base.approval.at) <= duration("15m")',
        'context.base.approval.at > datetime("2025-12-31")',
    ],
)
def test_an_approval_is_the_best_that_anybody_could_give(condition):
    bundle = load(PERMIT_ALL, yielding(f"{APPROVED} && {condition}"))
    given_ = decision_input(bundle, PAYER, PAY, PAYMENT, facts())
    assert decide(bundle, given_).ruling is Ruling.NEEDS_APPROVAL
    assert decide(bundle, from_json(parse(dump(to_json(given_))))) == decide(bundle, given_)


@pytest.mark.parametrize(
    "other", [f"{ASKED} && {BOB.replace('bob', 'eve')}", f"{ASKED} && !({BOB})", f"!({ASKED}) && context.base.dryRun"]
)
def test_one_person_has_to_satisfy_every_forbid(other):
    assert pay(yielding(f"{ASKED} && {BOB}"), yielding(other, "other")).ruling is Ruling.DENY


def test_of_very_many_people_only_the_first_are_tried():
    names = ", ".join(f'Gateway::User::"u{n:02}"' for n in range(30))
    assert pay(yielding(f"{ASKED} && [{names}].contains(context.base.approval.by)")).ruling is Ruling.NEEDS_APPROVAL


def test_an_approval_of_other_arguments_leaves_the_call_in_need_of_one():
    bundle = load(PERMIT_ALL, yielding())

    def asked(*, args_match):
        given_by_bob = Surroundings(approval=Approval("bob", NOW, args_match, 1))
        return decide(bundle, compose(bundle, Question(PAYER, PAY, PAYMENT, facts(), given_by_bob)))

    assert asked(args_match=True).ruling is Ruling.ALLOW
    assert asked(args_match=False).ruling is Ruling.NEEDS_APPROVAL


def test_a_policy_that_fails_on_approved_calls_only_leaves_them_denied():
    failing = hard(condition=f"{ASKED} && context.base.step + 9223372036854775807 > 0 && context.base.step < 0")
    assert pay(yielding(), failing).ruling is Ruling.NEEDS_APPROVAL
    overflow = failing.replace("context.base.step + 92", "context.base.approval.quorum + 92")
    decision = pay(yielding(), overflow)
    assert (decision.ruling, decision.policies, decision.errors) == (Ruling.DENY, ("lead",), ())


def test_a_policy_that_fails_denies_whatever_an_approval_would_do():
    overflow = hard(condition="context.base.step + 1 + 9223372036854775807 > 0")
    decision = pay(yielding(), overflow)
    assert (decision.ruling, decision.obligations) == (Ruling.DENY, ())
    assert decision.errors == ("policy hard could not be evaluated",)


def test_the_step_that_is_missing_comes_before_the_approval():
    bundle = load(PERMIT_ALL, PRECONDITION, yielding())
    first = ask(bundle, PAY, PAYMENT)
    assert (first.ruling, first.obligations) == (Ruling.NEEDS_PRECONDITION, ())
    assert [remedy.tool for remedy in first.remedies] == ["fraud.check"]
    running = ask(bundle, PAY, PAYMENT, facts(fraud=step(status=StepStatus.EXECUTING, output=None)))
    assert (running.ruling, running.waits_for, running.remedies) == (Ruling.NEEDS_PRECONDITION, "call_1", ())
    then = ask(bundle, PAY, PAYMENT, facts(fraud=step()))
    assert (then.ruling, then.remedies, then.policies) == (Ruling.NEEDS_APPROVAL, (), ("lead",))


def test_the_step_that_a_permit_waits_for_comes_after_a_forbid_that_an_approval_lifts():
    permit = f'@id("p") @remedy("mail.send") permit (principal, {PAYING}, resource) when {{ context.base.dryRun }};'
    decision = ask(load(permit, yielding()), PAY, PAYMENT)
    assert (decision.ruling, [remedy.tool for remedy in decision.remedies]) == (
        Ruling.NEEDS_PRECONDITION,
        ["mail.send"],
    )


def test_a_step_is_named_only_where_it_would_help():
    assert pay(PRECONDITION).ruling is Ruling.NEEDS_PRECONDITION
    beside = pay(PRECONDITION, hard())
    assert (beside.ruling, beside.remedies, beside.policies) == (
        Ruling.DENY,
        (),
        ("hard", "pay.requires-fraud-check"),
    )
    assert beside.message == f"Policy hard forbids this call of payments.pay. {pay(PRECONDITION).message}"


def test_obligations_are_those_of_every_permit_that_applies():
    texts = [
        f'@id("{name}") {obliged} permit (principal, {CALL}, resource) when {{ {condition} }};'
        for name, obliged, condition in (
            ("a", '@redact("iban, name")', "resource.readOnly"),
            ("b", '@redact("name, phone")', "context.base.step == 0"),
            ("c", '@redact("secret")', "context.base.dryRun"),
            ("d", "", "true"),
        )
    ]
    decision = ask(load(*texts, options=LoadOptions(fulfils=frozenset({"redact"}))), LIST, {})
    assert (decision.ruling, decision.policies) == (Ruling.ALLOW_WITH_OBLIGATIONS, ("a", "b", "d"))
    assert decision.obligations == (("redact", "iban"), ("redact", "name"), ("redact", "phone"))
    assert pay().ruling is Ruling.ALLOW


def test_only_a_refusal_that_says_an_approval_would_lift_it_is_decided_twice():
    bundle = load(
        PERMIT_ALL, yielding(f"{APPROVED} || context.base.step == 1"), hard(condition="context.base.step == 2")
    )
    situation = bundle.situation(bundle.request(PAYER, PAY))
    for number, twice in ((1, 0), (2, 1)):
        ask(bundle, PAY, PAYMENT, Facts(NOW, RUN, step=number))
        assert situation._approvers.cache_info().misses == twice
    listed = bundle.situation(bundle.request(PAYER, LIST))
    assert ask(bundle, LIST, {}).allowed
    assert listed._approvers.cache_info().misses == 0


def test_a_context_that_is_no_record_is_refused_not_raised():
    bundle = load(PERMIT_ALL, yielding(f"context.base.step == 1 && {ASKED}"))
    recorded = to_json(decision_input(bundle, PAYER, PAY, PAYMENT, facts()))
    assert not decide(bundle, from_json({**recorded, "context": {"base": "odd"}})).allowed
    early = load(PERMIT_ALL, yielding(f'context.input.payee != "ACME" && {ASKED}'))
    recorded = to_json(decision_input(early, PAYER, PAY, PAYMENT, facts()))
    odd = decide(early, from_json({**recorded, "context": {**recorded["context"], "base": "odd"}}))
    assert (odd.allowed, odd.policies) == (False, ("lead",))


FORBIDS = {
    "hard": hard,
    "asks": lambda name: yielding(name=name),
    "asks for nothing": lambda name: yielding("false", name),
    "lifted unasked": lambda name: hard(name, f"!({ASKED})"),
    "step": lambda name: hard(name).replace("forbid", '@remedy("fraud.check") forbid'),
}
PERMITS = {"always": "true", "approved": ASKED, "not now": "context.base.dryRun"}


def meaning(permit, forbids):
    """The lattice as POLICY.md has it, said once more without Cedar."""
    if not forbids:
        return Ruling.ALLOW if permit == "always" else Ruling.DENY
    if set(forbids) == {"asks"}:
        return Ruling.DENY if permit == "not now" else Ruling.NEEDS_APPROVAL
    left = set(forbids) - {"asks"}
    return Ruling.NEEDS_PRECONDITION if left == {"step"} else Ruling.DENY


@settings(max_examples=80)
@given(st.sampled_from(sorted(PERMITS)), st.lists(st.sampled_from(sorted(FORBIDS)), max_size=4))
def test_the_outcome_is_what_the_lattice_says(permit, forbids):
    texts = [FORBIDS[kind](f"f{number}") for number, kind in enumerate(forbids)]
    allow = f'@id("p") permit (principal, {CALL}, resource) when {{ {PERMITS[permit]} }};'
    decision = ask(load(allow, *texts), PAY, PAYMENT)
    assert decision.ruling is meaning(permit, forbids)
    assert bool(decision.remedies) is (decision.ruling is Ruling.NEEDS_PRECONDITION)
    assert bool(decision.obligations) is (decision.ruling is Ruling.NEEDS_APPROVAL)
    assert decision.allowed is (decision.ruling is Ruling.ALLOW)


@pytest.mark.parametrize(
    ("texts", "outlook"),
    [
        ((), Outlook.ALWAYS),
        ((yielding(),), Outlook.NEEDS_APPROVAL),
        ((yielding("context.base has approval.argsMatch"),), Outlook.NEEDS_APPROVAL),
        ((yielding(), PRECONDITION), Outlook.NEEDS_APPROVAL),
        ((yielding(f"{APPROVED} || context.base.dryRun"),), Outlook.CONDITIONAL),
        ((yielding(f"{ASKED} && context.base.approval has by"),), Outlook.NEEDS_APPROVAL),
        ((yielding(), hard(condition=f"!({ASKED})")), Outlook.CONDITIONAL),
        ((PRECONDITION,), Outlook.CONDITIONAL),
        ((yielding(), hard()), Outlook.NEVER),
        ((yielding("false"),), Outlook.NEVER),
        ((yielding(more='@mode("shadow")'),), Outlook.ALWAYS),
    ],
)
def test_the_matrix_tells_what_only_an_approval_opens(texts, outlook):
    bundle = load(PERMIT_ALL, *texts)
    assert matrix(bundle, [PAYER], TOOLS)["payer"][PAY.name] is outlook
    assert visible(bundle, PAYER, PAY) is (outlook is not Outlook.NEVER)
    if outlook is Outlook.NEEDS_APPROVAL:
        assert not ask(bundle, PAY, PAYMENT, facts(fraud=step())).allowed
