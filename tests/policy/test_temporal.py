"""Temporal clauses of Dogwood decide as the preconditions written by hand do; what those cannot say is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.decision import Remedy
from gateway.model.facts import PriorQuery, PriorScope, StepStatus
from gateway.policy import PolicyLoadError, PolicySource, decision_input, explain, lowered
from gateway.policy.source import split
from gateway.policy.temporal import read
from tests.policy.acme import (
    CHECK,
    MINUTE,
    NOW,
    PAY,
    PAYER,
    PAYING,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    ask,
    facts,
    load,
    step,
)
from tests.policy.test_precondition import REFUSED

FIELDS = """
    input.payment_id: context.input.payment_id,
    input.payee: context.input.payee, input.amount: context.input.amount,
    output.result: "passed\""""
FORMERLY = f'formerly within 15m Action::"fraud.check"::response{{ {FIELDS} }}'
FORBID = f"""@id("pay.requires-fraud-check") @remedy("fraud.check")
@message("fraud.check must have passed for this payment, payee and amount in the last 15 minutes.")
forbid (principal, {PAYING}, resource)
unless temporal {{
  {FORMERLY} // one of the last 15 minutes
}};"""
PERMIT = f'@id("pay") permit (principal, {PAYING}, resource) when temporal {{ {FORMERLY} }};'
TEMPORAL = load(PERMIT_ALL, FORBID)
PERMITTING = load(PERMIT)
WRITTEN = load(PERMIT_ALL, PRECONDITION.replace(" use once", "").replace(" && !context.prior.fraud.consumed", ""))
(NAME,) = (query.name for query in TEMPORAL.priors_for("payments.pay"))

MATRIX = REFUSED | {
    "fresh": step(),
    "exactly 15 minutes old": step(at_ms=NOW - 15 * MINUTE),
    "of this moment": step(at_ms=NOW),
    "for 250.0": step(arguments={**PAYMENT, "amount": 250.0}),
    "compensated": step(status=StepStatus.COMPENSATED),
}


@pytest.mark.parametrize("case", [*MATRIX, "missing"])
def test_a_temporal_clause_decides_as_the_precondition_written_by_hand(case):
    found = MATRIX.get(case)
    temporal = ask(TEMPORAL, PAY, PAYMENT, facts(**({NAME: found} if found else {})))
    by_hand = ask(WRITTEN, PAY, PAYMENT, facts(**({"fraud": found} if found else {})))
    assert (temporal.allowed, temporal.policies, temporal.message, temporal.waits_for, temporal.errors) == (
        by_hand.allowed,
        by_hand.policies,
        by_hand.message,
        by_hand.waits_for,
        by_hand.errors,
    )
    assert ask(PERMITTING, PAY, PAYMENT, facts(**({NAME: found} if found else {}))).allowed == by_hand.allowed


@pytest.mark.parametrize("case", [*REFUSED, "missing"])
def test_only_a_check_that_is_in_every_way_right_permits(case):
    found = REFUSED.get(case)
    decision = ask(TEMPORAL, PAY, PAYMENT, facts(**({NAME: found} if found else {})))
    assert decision.allowed == (case == "consumed")  # nothing is used up here: Dogwood has no single use
    assert decision.consumes == ()


def test_the_step_is_looked_up_in_the_run_by_every_argument_it_must_share():
    bindings = tuple((name, name) for name in ("payment_id", "payee", "amount"))
    assert TEMPORAL.priors_for("payments.pay") == (PriorQuery(NAME, "fraud.check", bindings, PriorScope.RUN),)
    assert PERMITTING.priors_for("payments.pay") == TEMPORAL.priors_for("payments.pay")
    assert TEMPORAL.priors_for("fraud.check") == ()


def test_the_refusal_names_the_missing_call():
    assert ask(TEMPORAL, PAY, PAYMENT).remedies == (Remedy("fraud.check", PAYMENT),)


def test_what_is_shown_is_the_cedar_that_decides_and_comments_stay():
    shown = TEMPORAL.text
    assert "temporal" not in shown
    assert f'@prior("{NAME}: fraud.check by payment_id=payment_id,payee=payee,amount=amount in run")\nforbid' in shown
    assert f'{{\n  context.prior has {NAME} &&\n  context.prior.{NAME}.status == "ok"' in shown
    text = f"// {FORBID.splitlines()[-1]}\n// why\n{PERMIT} // end\n{PERMIT_ALL}"
    shown = lowered(PolicySource("f", text))
    assert shown.startswith("// }};\n// why\n@id".replace("}}", "}"))
    assert shown.endswith(f"}}; // end\n{PERMIT_ALL}")
    assert load(shown).policies[0].need == PERMITTING.policies[0].need


def test_an_explanation_tells_which_part_of_the_clause_fails():
    old = facts(**{NAME: step(at_ms=NOW - 16 * MINUTE)})
    told = explain(TEMPORAL, decision_input(TEMPORAL, PAYER, PAY, PAYMENT, old))
    assert "durationSince(context.prior." in str(told)
    assert '<= duration("15m")' in str(told)


def permit(body, keyword="when", effect="permit", annotations=""):
    return f'@id("a") {annotations}{effect} (principal, {PAYING}, resource)\n{keyword} temporal {{ {body} }};'


def event(fields="", tail="::response", action='Action::"fraud.check"'):
    return f"formerly within 1h {action}{tail}{{ {fields} }}"


def permits(body, *found):
    bundle = load(permit(body))
    names = [query.name for query in bundle.priors_for("payments.pay")]
    return ask(bundle, PAY, PAYMENT, facts(**dict(zip(names, found, strict=True)))).allowed


def test_several_clauses_hold_together_and_each_finds_its_own_step():
    listing = event(action='Gateway::Action::"payments.list"')
    both = f"{event('input.payee: context.input.payee')} && {listing}"
    listed = step("payments.list", arguments={}, output=None)
    assert permits(both, step(), listed)
    assert not permits(both, step(), step("payments.list", arguments={}, status=StepStatus.FAILED))
    text = permit(event("input.payee: context.input.payee")).replace("};", "}").removesuffix(";")
    bundle = load(f'{text} when {{ context.input.payee == "ACME" }} when temporal {{ {event()} }};')
    first, second = (query.name for query in bundle.priors_for("payments.pay"))
    assert ask(bundle, PAY, PAYMENT, facts(**{first: step(), second: step()})).allowed
    assert not ask(bundle, PAY, PAYMENT, facts(**{first: step()})).allowed
    assert not ask(bundle, PAY, {**PAYMENT, "payee": "other"}, facts(**{first: step(), second: step()})).allowed


def test_one_step_in_two_windows_is_looked_up_once():
    assert permits(f"{event()} && {event().replace('1h', '5 m')}", step())
    assert not permits(f"{event()} && {event().replace('1h', '005m')}", step(at_ms=NOW - 6 * MINUTE))


@pytest.mark.parametrize(
    ("field", "found", "held"),
    [
        ('input.payee: "ACME"', step(), True),
        ('input.payee: "Mallory"', step(), False),
        ('input.amount: decimal("250.0")', step(), True),
        ('input.amount: decimal("250.5")', step(), False),
        ("output.score: 3", step(output={"result": "passed", "score": 3}), True),
        ("output.score: -3", step(output={"result": "passed", "score": 3}), False),
        ("output.score: -3", step(output={"result": "passed", "score": -3}), True),
        ("output.score: 3", step(), False),
        ("output.result: context.input.payee", step(output={"result": "ACME"}), True),
        ("output.result: context.input.payee", step(), False),
        ("callerPrincipal: principal", step(), True),
        ("callerPrincipal: principal", step(agent="reader"), False),
        ("", step(), True),
    ],
)
def test_a_field_is_held_to(field, found, held):
    assert permits(event(field), found) == held


def test_a_true_or_false_argument_is_held_to():
    text = permit('formerly within 1d Action::"mail.send"::response{ input.urgent: true }')
    bundle = load(text)
    (name,) = (query.name for query in bundle.priors_for("payments.pay"))
    sent = {"to": ["a"], "text": "x"}
    for urgent in (True, False):
        mailed = step("mail.send", arguments={**sent, "urgent": urgent}, output=None)
        assert ask(bundle, PAY, PAYMENT, facts(**{name: mailed})).allowed == urgent


REFUSALS = {
    "previous": (permit("previous within 1h " + event()[19:]), "previous", "`previous`"),
    "since": (permit(f"{event()} since within 1h {event()[19:]}"), "since", "`since`"),
    "request": (permit(event(tail="::request")), "request", "the event kind `::request`"),
    "another kind": (permit(event(tail="::attempt")), "attempt", "the event kind `::attempt`"),
    "no kind": (permit(event(tail="")), "{  }", r"`\{` \(where `::` is expected\)"),
    "negation": (permit(f"!{event()}"), "!", "a negation"),
    "a count": (permit(f"0 < count for (t: Timepoint). where {event()}"), "0", "`0`"),
    "a count first": (permit("count for (t: Timepoint). where x < 3"), "count", "an aggregation"),
    "a comparison": (permit(f"{event()} == 1"), "== 1", "a comparison"),
    "or": (permit(f"{event()} || {event()}"), "||", r"`\|\|`"),
    "exists": (permit("exists (x: String). true"), "exists", "`exists`"),
    "brackets": (permit(f"({event()})"), "(formerly", "a condition in brackets"),
    "brackets within": (permit("formerly within 1h (x && y)"), "(x", "a condition in brackets"),
    "a macro's call": (permit("recently(1h)"), "recently", "`recently`"),
    "a macro's call within": (permit("formerly within 1h seen(x)"), "seen", "`seen` instead of an event"),
    "a macro": (f"def temporal seen(?x) = {event()};", "def", "a macro"),
    "a second block": (permit(event() + "{ input.payee: context.input.payee }"), "{ input", "a second block"),
    "no window": (permit(event().replace("within 1h ", "")), 'Action::"fraud', "`formerly` without `within`"),
    "no long window": (permit(event().replace("1h", "0m")), "0m", "the window `0m`"),
    "a unit too many": (permit(event().replace("1h", "1w")), "1w", "the window `1w`"),
    "milliseconds": (permit(event().replace("1h", "1ms")), "1ms", "the window `1ms`"),
    "a window of words": (permit(event().replace("1h", "?w")), "?w", r"the window `\?w`"),
    "a window too long": (permit(event().replace("1h", "9999999d")), "9999999d", "the window `9999999d`"),
    "another namespace": (permit(event(action='Drupe::Action::"x"')), "Drupe", "the namespace `Drupe::Action`"),
    "no tool's name": (permit(event(action='Action::"a b"')), '"a b"', 'the tool name "a b"'),
    "a wildcard": (permit(event("input.payee: _")), "_ }", "a wildcard"),
    "a starred wildcard": (permit(event("input.payee: *")), "*", "a wildcard"),
    "a variable": (permit(event("input.payee: u")), "u }", "`u` as a value"),
    "an array": (permit(event("input.payee: [1]")), "[1]", "an array"),
    "an entity": (permit(event('input.payee: Gateway::Agent::"x"')), 'Gateway::Agent::"x"', "`Gateway` as a value"),
    "an attribute": (permit(event("input.payee: principal.name")), "principal.name", "`principal.name` as a value"),
    "the principal": (permit(event("input.payee: principal")), "input.payee", "`principal` in this field"),
    "another context": (
        permit(event("input.payee: context.base.run")),
        "context.base",
        "`context.base.run` as a value",
    ),
    "all of the input": (permit(event("input.payee: context.input")), "context.input", "`context.input` as a value"),
    "a negative word": (permit(event("output.score: -x")), "-x", "`-` as a value"),
    "an escape": (permit(event('input.payee: "a\\n"')), '"a\\n"', "the escape"),
    "another event field": (permit(event("callerResource: resource")), "resource }", "`resource` as a value"),
    "a field of its own": (permit(event('user: "ann"')), "user", "the field `user`"),
    "all of the output": (permit(event('output: "x"')), "output", "the field `output`"),
    "no field": (permit(event(': "x"')), ': "x"', "the field ``"),
    "half a path": (permit(event('input.: "x"')), ': "x"', "a name is expected"),
    "a letter of another script": (permit(event('input.é: "x"')), "é", "a name is expected"),
    "no colon": (permit(event('input.payee "x"')), '"x"', r"where `:` is expected"),
    "no comma": (permit(event('input.payee: "x" input')), "input }", "`input` after a field"),
    "nothing": (permit(""), "}", "where `formerly` is expected"),
    "no block": (permit(event()).replace("temporal {", "temporal"), "formerly", r"where `\{` is expected"),
    "no end": (permit(event()).removesuffix(" };"), "}", "not closed"),
    "when in a forbid": (permit(event(), effect="forbid"), "when", "`when temporal` in this policy"),
    "unless in a permit": (permit(event(), "unless"), "unless", "`unless temporal` in this policy"),
    "no effect": (f"when temporal {{ {event()} }};", "when", "`when temporal` in this policy"),
    "a precondition beside it": (permit(event(), annotations='@prior("f: fraud.check in run") '), "prior(", "@prior"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_no_precondition_expresses_is_refused_with_its_place(case):
    text, at, what = REFUSALS[case]
    with pytest.raises(PolicyLoadError, match=what) as refused:
        load(f"{PERMIT_ALL}\n\n{text}")
    (problem,) = refused.value.problems
    start = text.rindex(at) if case == "no end" else text.index(at, text.find("temporal {") if at in "}" else 0)
    line = text.count("\n", 0, start)
    column = start - text.rfind("\n", 0, start)
    assert (problem.file, problem.line, problem.column) == ("1.cedar", 3 + line, column)
    assert (problem.code, problem.fix.startswith("accepted: `formerly within 15m ")) == ("temporal", True)


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        (permit(event(action='Action::"fraud.chek"')), "unknown_tool", "formerly"),
        (permit(event("input.nothing: context.input.payee")), "prior_binding", "formerly"),
        (permit(event("output.nothing: 1")), "undeclared", "output"),
        (permit(event("output.score: true")), "type", "@id"),
        (permit(event(), annotations="@nonsense "), "annotation", "nonsense"),
        (permit(event()).replace("};", "} when { context.wrong };"), "type", "wrong"),
        (permit(event()).replace("};", "} when { context.base.nowt };"), "type", "nowt"),
        (permit(" && ".join([event("input.payee: context.input.payee")] * 20)), "too_many_terms", "@id"),
        (permit(event(f"output.score: {2**70}")), "syntax", "@id"),
    ],
)
def test_what_cedar_and_the_pinned_tools_refuse_keeps_its_place_in_what_was_written(text, code, at):
    with pytest.raises(PolicyLoadError) as refused:
        load(text)
    problem = refused.value.problems[0]
    start = text.index(at)
    assert (problem.code, problem.line, problem.column) == (
        code,
        1 + text.count("\n", 0, start),
        start - text.rfind("\n", 0, start),
    )


@given(st.text(alphabet='abpermit()[]{};,.:="\\&|+-*! \n/@if', max_size=200))
def test_a_text_without_temporal_clauses_stays_as_it_is_byte_for_byte(text):
    source = PolicySource("f", text)
    assert read(source) == split(source)
    assert lowered(source) == text


@pytest.mark.parametrize("text", [PERMIT_ALL, PRECONDITION, '@temporal("when") permit (principal, action, resource);'])
def test_a_policy_that_only_speaks_of_temporal_things_stays_as_it_is(text):
    assert read(PolicySource("f", text)) == split(PolicySource("f", text))


@given(
    st.lists(st.sampled_from([*FORBID.split(), "::", "{", "}", "&&", "temporal", "when", "-", "_", "."]), max_size=40)
)
def test_any_clause_is_read_or_refused(words):
    statements, problems = read(
        PolicySource("f", "permit (principal, action, resource) when temporal { " + " ".join(words))
    )
    assert statements or problems


def test_a_check_needs_no_check():
    assert ask(TEMPORAL, CHECK, PAYMENT).allowed
