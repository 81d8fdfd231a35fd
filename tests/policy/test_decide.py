"""Allowed only if Cedar allows without an error and everything the decision is about is known."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import dump, parse
from gateway.model.decision import DecisionInput, Ruling
from gateway.model.facts import Facts, RunRef, StepStatus
from gateway.model.identity import Child, Identity
from gateway.model.tool import Effect
from gateway.policy import LoadOptions, Outlook, decide, decision_input, explain, from_json, may, to_json, visible
from tests.policy.acme import (
    BOOLEAN,
    CALL,
    CHECK,
    INTEGER,
    LETTER,
    LIST,
    MAIL,
    NOW,
    NUMBER,
    PAY,
    PAYER,
    PAYING,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    RUN,
    STRING,
    ask,
    facts,
    forbidding,
    is_denied_when,
    load,
    record,
    step,
    tool,
)


def test_an_unregistered_agent_is_denied_whatever_the_policies_say():
    decision = ask(load(PERMIT_ALL), LIST, {}, who=Identity("stranger", "token", "t"))
    assert not decision.allowed
    assert decision.errors == ("unknown principal",)
    assert "not registered" in decision.message


@pytest.mark.parametrize(
    "called",
    [
        tool("new.tool", record()),
        replace(LIST, digest="sha256:other"),
        replace(LIST, effect=Effect.WRITE),
        replace(LIST, quarantined="drifted"),
        replace(LIST, groups=("other",)),
    ],
)
def test_a_tool_the_policies_were_not_checked_against_is_denied(called):
    decision = ask(load(PERMIT_ALL), called, {})
    assert not decision.allowed
    assert decision.errors == ("unknown action", "unknown resource")
    assert "reload" in decision.message


def test_an_equal_tool_is_the_same_tool():
    assert ask(load(PERMIT_ALL), replace(LIST), {}).allowed


def test_a_forbid_overrides_every_permit():
    decision = ask(load(PERMIT_ALL, forbidding("true")), LIST, {})
    assert not decision.allowed
    assert decision.policies == ("no",)
    assert decision.message == "Policy no forbids this call of payments.list."


def test_a_policy_that_cannot_be_evaluated_denies_and_does_not_quote_values():
    overflow = forbidding(
        "context.input.limit + 9223372036854775807 > 0 && false", 'action == Gateway::Action::"payments.list"'
    )
    bundle = load(PERMIT_ALL, overflow.replace("when {", "when { context.input has limit &&"))
    assert ask(bundle, LIST, {"limit": 0}).allowed
    decision = ask(bundle, LIST, {"limit": 123456})
    assert not decision.allowed
    assert decision.errors == ("policy no could not be evaluated",)
    assert decision.policies == decision.remedies == ()
    assert "123456" not in repr(decision)


def test_a_value_that_a_policy_reads_and_that_has_no_exact_form_denies():
    bundle = load(PERMIT_ALL, forbidding('context.input has amount && context.input.amount == decimal("1.0")', PAYING))
    decision = ask(bundle, PAY, {**PAYMENT, "amount": 1.00001})
    assert not decision.allowed
    assert decision.errors == ("cannot be judged: input.amount",)
    assert "input.amount" in decision.message


def test_a_value_that_no_policy_reads_may_have_any_form():
    bundle = load(PERMIT_ALL, forbidding('context.input.payee == "Mallory"', PAYING))
    assert ask(bundle, PAY, {**PAYMENT, "amount": 1.00001}).allowed


def test_a_count_that_cannot_be_made_denies():
    bundle = load(PERMIT_ALL, forbidding("context.n.to > 1", 'action == Gateway::Action::"mail.send"'))
    assert ask(bundle, MAIL, LETTER).allowed
    assert not ask(bundle, MAIL, {**LETTER, "to": ["a", "a"]}).allowed
    assert ask(bundle, MAIL, {**LETTER, "to": "a"}).errors == ("cannot be judged: n.to",)


def test_unmodelled_arguments_are_visible_to_policies():
    assert not is_denied_when("!context.base.unmodelled.isEmpty()")
    assert is_denied_when('context.base.unmodelled.contains("/extra")', arguments={"extra": 1})


def test_arguments_can_not_forge_entities_or_extension_values():
    forged = {"__entity": {"type": "Gateway::Agent", "id": "reader"}}
    typed = {"type": "Gateway::Agent", "id": "reader"}
    odd = tool("odd.tool", record(who=record(type=STRING, id=STRING), any=STRING))
    text = '@id("a") permit (principal, action == Gateway::Action::"odd.tool", resource) when { %s };'
    bundle = load(
        text % 'context.input has who && context.input.who has id && context.input.who.id == "reader"', tools=[odd]
    )
    assert ask(bundle, odd, {"who": typed}).allowed  # a record, with two strings
    assert not ask(bundle, odd, {"who": forged}).allowed
    assert not ask(bundle, odd, {"any": {"__extn": {"fn": "decimal", "arg": "1.0"}}}).allowed


@pytest.mark.parametrize(
    "condition",
    [
        'context.base.run.id == "run_1" && context.base.run.status == "open"',
        "context.base.run.owner == principal",
        "context.base.step == 7",
        'context.base.env == Gateway::Environment::"staging"',
        'context.base has delegator && context.base.delegator == Gateway::User::"eve"',
        'context.base.delegatedScopes.contains("mail")',
        "!context.base.dryRun && context.base.taint.isEmpty()",
        "!(context.base has budget) && !(context.base has approval)",
        'context.base.now == datetime("2026-01-01T00:00:00Z")',
        'principal in Gateway::Team::"finance" && principal in Gateway::Role::"clerk"',
        'principal.owner == Gateway::User::"finance@acme.example"',
        "resource.readOnly && resource.openWorld && resource.sink && !resource.annotationsTrusted && resource.pinned",
        'resource in Gateway::Server::"payments"',
    ],
)
def test_policies_see_who_calls_what_where_and_when(condition):
    who = replace(PAYER, roles=("clerk",), on_behalf_of="eve", scopes=("mail",))
    known = Facts(NOW, RunRef("run_1", "payer/eve", "open"), step=7, environment="staging")
    assert is_denied_when(condition, known=known, who=who)


CHILD = Child("tg_1", "payer:reader:ocr", "run_1", ("payments.*",), 2)


def test_policies_see_what_was_handed_on_and_that_nothing_was():
    who = replace(PAYER, child=CHILD)
    seen = 'context.base has delegation && context.base.delegation.name == "payer:reader:ocr" && '
    seen += 'context.base.delegation.parent == "payer:reader" && context.base.delegation.depth == 2 && '
    seen += 'context.base.delegation.scopes.contains("payments.*")'
    assert is_denied_when(seen, who=who)
    assert is_denied_when("!(context.base has delegation)")


def test_a_child_and_its_agent_are_never_answered_by_each_others_decision():
    bundle = load(PERMIT_ALL, forbidding("context.base has delegation"))
    for who, allowed in ((PAYER, True), (replace(PAYER, child=CHILD), False), (PAYER, True)):
        assert decide(bundle, decision_input(bundle, who, LIST, {}, facts())).allowed is allowed


def test_what_a_child_was_not_given_is_refused_whatever_the_policies_say():
    bundle = load(PERMIT_ALL)
    who = replace(PAYER, child=replace(CHILD, scopes=("fraud.*", "payments.pay")))
    given = decision_input(bundle, who, LIST, {}, facts())
    decision = decide(bundle, from_json(to_json(given)))
    assert not decision.allowed
    assert decision.ruling is Ruling.DENY
    assert decision.message.startswith("payer:reader:ocr was given fraud.*, payments.pay, and this call of")
    assert explain(bundle, given).verdicts == ()
    assert not visible(bundle, who, LIST)
    assert may(bundle, who, "resources/read", "files", None) is Outlook.NEVER


def test_no_delegator_is_no_attribute():
    assert is_denied_when("!(context.base has delegator)")


def test_an_environment_nobody_declared_is_not_guessed_about():
    bundle = load(PERMIT_ALL, forbidding('context.base.env == Gateway::Environment::"production"'))
    decision = ask(bundle, LIST, {}, Facts(NOW, RUN, environment="prod"))
    assert decision.errors == ("cannot be judged: base.env",)


@pytest.mark.parametrize(
    ("effect", "annotations", "trusted", "attributes"),
    [
        (Effect.READ, {}, False, "resource.readOnly && !resource.destructive && resource.reversible"),
        (Effect.READ, {"destructiveHint": True}, True, "resource.readOnly && !resource.destructive"),
        (Effect.WRITE, {}, False, "resource.destructive && !resource.readOnly && !resource.reversible"),
        (Effect.WRITE, {"destructiveHint": False}, False, "resource.destructive"),
        (Effect.WRITE, {"destructiveHint": False}, True, "!resource.destructive"),
        (Effect.IRREVERSIBLE, {"destructiveHint": False}, True, "resource.destructive"),
        (Effect.READ, {"openWorldHint": False}, False, "resource.openWorld && resource.sink"),
        (Effect.READ, {"openWorldHint": False}, True, "!resource.openWorld && !resource.sink"),
        (Effect.READ, [], True, "resource.openWorld"),
    ],
)
def test_hints_of_a_server_count_only_once_pinned_and_never_against_the_declared_effect(
    effect, annotations, trusted, attributes
):
    hinted = tool("a.b", record(), effect, definition={"annotations": annotations}, annotations_trusted=trusted)
    bundle = load(f'@id("a") permit (principal, {CALL}, resource) when {{ {attributes} }};', tools=[hinted])
    assert ask(bundle, hinted, {}).allowed


def test_a_prior_step_is_seen_with_who_when_and_in_which_run():
    condition = (
        'context.prior has m && context.prior.m.run == "run_0" && context.prior.m has delegator && '
        'context.prior.m.delegator == Gateway::User::"eve" && context.prior.m.startedAt < context.prior.m.at && '
        'context.prior.m.status == "error" && context.prior.m.input.text == "hello"'
    )
    bundle = load(PERMIT_ALL, forbidding(condition, PAYING, '@prior("m: mail.send in user")'))
    earlier = step("mail.send", run_id="run_0", on_behalf_of="eve", started_at_ms=NOW - 90_000, arguments=LETTER)
    failed = replace(earlier, status=StepStatus.FAILED, output=None)
    assert ask(bundle, PAY, PAYMENT, facts(m=failed)).policies == ("no",)
    assert ask(bundle, PAY, PAYMENT, facts(m=earlier)).allowed
    assert ask(bundle, PAY, PAYMENT).allowed


def test_a_policy_may_ask_only_whether_a_step_was():
    bundle = load(PERMIT_ALL, forbidding("context.prior has f", PAYING, '@prior("f: fraud.check in run")'))
    assert ask(bundle, PAY, PAYMENT, facts(f=step(arguments={}))).policies == ("no",)
    assert ask(bundle, PAY, PAYMENT).allowed


def test_facts_nobody_asked_for_change_nothing():
    assert ask(load(PERMIT_ALL), PAY, PAYMENT, facts(other=step())).allowed


@pytest.mark.parametrize(
    "condition", ["context == context", "context.input == context.input && context.n == context.n"]
)
def test_a_policy_may_read_the_context_as_a_whole(condition):
    bundle = load(PERMIT_ALL, forbidding(condition, 'action == Gateway::Action::"mail.send"'))
    assert ask(bundle, MAIL, LETTER).policies == ("no",)


def test_only_what_the_policies_read_is_recorded():
    bundle = load(PERMIT_ALL, forbidding('context.input.payee == "Mallory" && context.base.step > 3', PAYING))
    given = decision_input(bundle, PAYER, PAY, PAYMENT, facts())
    assert given.context == {"input": {"payee": "ACME"}, "base": {"step": 0}}
    assert decision_input(bundle, PAYER, LIST, {}, facts()).context == {}


def test_a_context_that_is_no_json_is_refused():
    given = decision_input(load(PERMIT_ALL), PAYER, LIST, {}, facts())
    broken = replace(given, context={"base": "\ud800"})
    assert decide(load(PERMIT_ALL), broken).errors == ("cannot be judged: context",)


def test_a_context_that_cedar_can_not_read_is_refused():
    bundle = load(PERMIT_ALL, forbidding("context.base.step == 1"))
    given = decision_input(bundle, PAYER, LIST, {}, facts())
    decision = decide(bundle, replace(given, context={"base": {"step": 0.5}}))
    assert not decision.allowed
    assert decision.errors == ("the policy engine could not read the request",)


def test_an_input_of_something_else_is_not_read_back():
    with pytest.raises(KeyError):
        from_json({"principal": {}})


def test_the_same_question_gives_the_same_answer_ten_thousand_times():
    bundle = load(PERMIT_ALL, PRECONDITION, forbidding("context.base.step == 1"))
    given = decision_input(bundle, PAYER, LIST, {}, facts())
    first = decide(bundle, given)
    assert all(decide(bundle, given) == first for _ in range(10_000))


RICH = tool(
    "rich.tool",
    record(
        "text",
        text=STRING,
        count=INTEGER,
        price=NUMBER,
        flag=BOOLEAN,
        at={"type": "string", "format": "date-time"},
        tags={"type": "array", "items": STRING},
        deep=record("x", x=INTEGER, rows={"type": "array", "items": record("k", k=STRING)}),
    ),
    Effect.WRITE,
)
RICH_CONDITIONS = {
    "text": 'context.input.text like "*no*"',
    "count": "context.input has count && context.input.count > 5",
    "price": 'context.input has price && context.input.price.greaterThan(decimal("5.0"))',
    "flag": "context.input has flag && context.input.flag",
    "at": "context.input has at && context.input.at > context.base.now",
    "tags": 'context.input has tags && context.input.tags.contains("no") && context.n has tags && context.n.tags > 1',
    "deep": "context.input has deep && context.input.deep.x > 5 && context.input.deep has rows"
    ' && context.input.deep.rows.contains({k: "no"})',
}
RICH_POLICIES = "".join(
    f'@id("{name}") forbid (principal, action == Gateway::Action::"rich.tool", resource) when {{ {condition} }};'
    for name, condition in RICH_CONDITIONS.items()
)
RICH_BUNDLE = load(PERMIT_ALL, RICH_POLICIES, tools=[RICH], options=LoadOptions())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(["no", "2026-01-01T00:00:00Z", 10**4000, 2**63]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "rows", "k", "__entity", "__extn", "type", "id", "\ud800"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*RICH.input_schema["properties"], "__entity", "extra"]), JSON))
def test_arbitrary_arguments_never_fail_inside_cedar(arguments):
    decision = ask(RICH_BUNDLE, RICH, arguments)
    for error in decision.errors:
        assert error.startswith("cannot be judged: ")
    if decision.allowed:
        assert type(arguments["text"]) is str
        assert "no" not in arguments["text"]


@given(
    st.fixed_dictionaries(
        {"text": st.text(max_size=5)},
        optional={
            "count": st.integers(-10, 10),
            "price": st.integers(-100, 100).map(lambda cents: cents / 100),
            "flag": st.booleans(),
            "tags": st.lists(st.sampled_from(["no", "yes"]), max_size=3),
        },
    )
)
def test_decisions_say_what_the_policies_mean(arguments):
    expected = {
        "text": "no" in arguments["text"],
        "count": arguments.get("count", 0) > 5,
        "price": arguments.get("price", 0) > 5,
        "flag": arguments.get("flag", False),
        "tags": "no" in arguments.get("tags", []) and len(arguments["tags"]) > 1,
    }
    decision = ask(RICH_BUNDLE, RICH, arguments)
    assert set(decision.policies) == ({name for name, fires in expected.items() if fires} or {"all"})
    given = decision_input(RICH_BUNDLE, PAYER, RICH, arguments, facts())
    assert decide(RICH_BUNDLE, from_json(parse(dump(to_json(given))))) == decision


CONDITIONS = st.sampled_from(
    ["resource.readOnly", "context.base.step == 0", "context.base.dryRun", "resource.destructive", "true", "false"]
)
RULES = st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), CONDITIONS, CONDITIONS), max_size=4)


@settings(max_examples=60)
@given(RULES, st.sampled_from([LIST, PAY, MAIL, CHECK]))
def test_a_hidden_tool_is_never_callable_and_a_sliced_decision_is_the_whole_one(rules, called):
    texts = [
        f'@id("{n}") {effect} (principal, {CALL}, resource) when {{ {one} }} unless {{ {two} && {one} }};'
        for n, (effect, one, two) in enumerate(rules)
    ]
    bundle = load(*texts)
    decision = ask(bundle, called, {**PAYMENT, **LETTER})
    assert decision.errors == ()
    facts_of = {
        "resource.readOnly": called.effect is Effect.READ,
        "resource.destructive": called.effect is not Effect.READ,
        "context.base.step == 0": True,
        "context.base.dryRun": False,
        "true": True,
        "false": False,
    }
    firing = {
        effect: [
            str(n) for n, (kind, one, two) in enumerate(rules) if kind == effect and facts_of[one] and not facts_of[two]
        ]
        for effect in ("permit", "forbid")
    }
    assert decision.allowed is bool(firing["permit"] and not firing["forbid"])
    assert list(decision.policies) == (firing["forbid"] or firing["permit"])
    if decision.allowed:
        assert visible(bundle, PAYER, called)


def test_a_decision_input_of_strangers_is_refused_not_raised():
    uid = {"type": "X", "id": "y"}
    decision = decide(load(PERMIT_ALL), DecisionInput(uid, uid, uid, {}, ()))
    assert decision.errors == ("unknown principal", "unknown action", "unknown resource")


def test_a_context_that_calls_have_in_common_is_put_together_once_for_each_caller_and_environment():
    bundle = load(
        PERMIT_ALL,
        forbidding('context.base.env == Gateway::Environment::"staging"').replace('"no"', '"env"'),
        forbidding('context.base has delegator && context.base.delegator == Gateway::User::"eve"').replace(
            '"no"', '"user"'
        ),
        forbidding('context.base.delegatedScopes.contains("write")').replace('"no"', '"scope"'),
    )

    def decided(who: Identity, environment: str = "production") -> tuple[str, ...]:
        known = Facts(NOW, RUN, environment=environment)
        given = decision_input(bundle, who, LIST, {}, known)
        assert given is decision_input(bundle, who, LIST, {"limit": 1}, replace(known, now_ms=NOW + 1, step=9))
        return decide(bundle, given).policies

    for _ in range(2):
        assert decided(PAYER) == ("all",)
        assert decided(PAYER, "staging") == ("env",)
        assert decided(replace(PAYER, on_behalf_of="eve")) == ("user",)
        assert decided(replace(PAYER, on_behalf_of="ann")) == ("all",)
        assert decided(replace(PAYER, scopes=("write",))) == ("scope",)


@pytest.mark.parametrize("read", ["now", "run", "step", "unmodelled"])
def test_what_changes_from_call_to_call_is_put_together_every_time(read):
    bundle = load(PERMIT_ALL, forbidding(f"context.base.{read} == context.base.{read} && false"))
    one = decision_input(bundle, PAYER, LIST, {"x": 1}, Facts(NOW, RUN))
    other = decision_input(bundle, PAYER, LIST, {"y": 1}, Facts(NOW + 1, RunRef("run_2", "payer", "open"), step=1))
    assert one.context != other.context


def test_contexts_that_calls_have_in_common_are_not_kept_without_bound():
    bundle = load(PERMIT_ALL, forbidding("context.base has delegator && context.base.delegator == principal.owner"))
    people = [replace(PAYER, on_behalf_of=f"person-{n}") for n in range(100)]
    for who in [*people, *people]:
        given = decision_input(bundle, who, LIST, {}, facts())
        assert given.context["base"]["delegator"]["__entity"]["id"] == who.on_behalf_of
        assert decide(bundle, given).allowed
