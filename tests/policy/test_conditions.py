"""Conditions answered before Cedar is asked come out as Cedar itself would have them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import dump
from gateway.policy import PolicySource
from gateway.policy.annotations import Terms
from gateway.policy.cedar import authorize, compile_policies, load_entities, parse
from gateway.policy.conditions import Conditions
from gateway.policy.entities import Uid
from gateway.policy.mapper import extension, instant
from gateway.policy.need import equalities, need_of
from gateway.policy.policies import Policy
from gateway.policy.situation import Situation
from gateway.policy.source import split
from tests.policy.acme import NOW, PAY, PAYER, load

BUNDLE = load()
REQUEST = BUNDLE.request(PAYER, PAY)
RAW = dump(REQUEST.entities)
ENTITIES = load_entities(RAW)
HEAD = {"principal": REQUEST.principal, "action": REQUEST.action, "resource": REQUEST.resource}
AGENT = {"__entity": {"type": "Gateway::Agent", "id": "payer"}}
VARIABLES = {"principal": Uid("Gateway::Agent", "payer")}

OPERANDS = st.sampled_from(
    [
        "context.a",
        "context.b",
        "context.r.a",
        "context.r.b",
        "context.r.deep.a",
        "context.a.b",
        "principal",
        "resource",
        "context",
        "1",
        "-3",
        "true",
        '"ok"',
        '"ünï"',
        'decimal("2.50")',
        'decimal("2.5")',
        'decimal("-0.5")',
        'datetime("2026-01-01")',
        'datetime("2025-12-31T23:45:00Z")',
        'datetime("2026-01-01T00:00:00.001Z")',
        'duration("15m")',
        'duration("-1h")',
        'duration("0s")',
        'ip("127.0.0.1")',
        'Gateway::Agent::"payer"',
        'Gateway::User::"payer"',
        "context.a.durationSince(context.b)",
        "context.r.a.durationSince(context.r.b)",
        'context.a.offset(duration("15m"))',
        "context.a.offset(context.b)",
        "context.a + 1",
        "[1, 2]",
        "{a: 1}",
        "principal.tier",
    ]
)
COMPARISONS = st.one_of(
    st.tuples(OPERANDS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), OPERANDS).map(" ".join),
    st.tuples(
        OPERANDS, st.sampled_from(["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]), OPERANDS
    ).map(lambda parts: "{}.{}({})".format(*parts)),
)
ATOMS = st.one_of(
    COMPARISONS,
    st.sampled_from(
        [
            "context.a",
            "context.r.b",
            "context has a",
            "context.r has a",
            "context.r has deep.a",
            "context.r.deep has b",
            "context has r.deep.a.b",
            "principal has tier",
            "context.a has tier",
            "context.a.tier == 0",
            '["ok", "no"].contains(context.a)',
            "[1, true].contains(context.b)",
            '[decimal("2.5"), decimal("3.0")].contains(context.r.a)',
            "[principal].contains(context.a)",
            "[context.b].contains(context.a)",
            "[].contains(context.a)",
            'context.a.contains("ok")',
            "context.b.contains(context.a)",
            "context.r.a.contains(principal)",
            "context.a.isEmpty()",
            "context.b.containsAny([1])",
            'context.a like "o*"',
            'context.a in Gateway::Team::"finance"',
            "context.a is Gateway::Agent",
            "principal == resource",
            "1 < 2",
        ]
    ),
)


def joined(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda parts: "(if {} then {} else {})".format(*parts)),
    )


CLAUSES = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), st.recursive(ATOMS, joined, max_leaves=6)), min_size=1, max_size=3
)
SCALARS = st.one_of(
    st.sampled_from(
        [
            True,
            False,
            1,
            0,
            -3,
            2**63 - 1,
            "ok",
            "1",
            "ünï",
            AGENT,
            {"__entity": {"type": "Gateway::User", "id": "payer"}},
            {"__entity": {"type": "Gateway::Tool", "id": "payments.pay"}},
            extension("decimal", "2.5000"),
            extension("decimal", "2.5"),
            extension("decimal", "-0.5"),
            extension("ip", "127.0.0.1"),
            extension("duration", "15m"),
            instant(NOW),
            instant(NOW + 1),
            instant(NOW - 15 * 60_000),
            extension("datetime", "2026-01-01"),
        ]
    ),
    st.integers(NOW - 10**9, NOW + 10**9).map(instant),
    st.integers(-30_000, 30_000).map(lambda n: extension("decimal", f"{n / 10_000:.4f}")),
)
VALUES = st.one_of(SCALARS, SCALARS, st.lists(SCALARS, max_size=3), st.just({}), st.fixed_dictionaries({"b": SCALARS}))


def records(**more: Any) -> Any:
    return st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, **more})


CONTEXTS = records(r=records(deep=records()))


def policy(text: str, name: str, **terms: Any) -> Policy:
    statements, _ = split(PolicySource("test", text))
    template = replace(parse(text), id=name)
    return Policy(template, statements[0], Terms(id=name, **terms), need_of(template), equalities(template))


def written(clauses: Any, effect: str = "permit") -> str:
    return f"{effect} (principal, action, resource)" + "".join(f" {word} {{ {text} }}" for word, text in clauses) + ";"


@settings(max_examples=250, deadline=None)
@given(CLAUSES, CLAUSES, CONTEXTS)
def test_cedar_answers_as_it_would_have_from_the_context_itself(permit, forbid, context):
    policies = [
        policy(written(permit), "yes"),
        policy(written(forbid, "forbid"), "no"),
        policy(written(permit, "forbid"), "watching", shadow=True),
    ]
    situation = Situation(REQUEST, RAW, policies)
    raw = [one.template for one in policies]
    for _ in range(2):  # the second time from memory
        enforced, watched = situation.answers(context)
        assert enforced == asked(raw[:2], situation.need.prune(context))
        if watched is not None:
            assert watched == asked(raw, situation.need.prune(context))


def asked(trees: Any, context: Any) -> Any:
    return authorize({**HEAD, "context": dump(context).decode()}, compile_policies(trees), ENTITIES)


def decimal(text: str) -> Any:
    return extension("decimal", text)


ANSWERED = [
    ("context.a == context.b", {"a": True, "b": 1}, False),
    ("context.a == context.b", {"a": 0, "b": False}, False),
    ("context.a != context.b", {"a": "1", "b": 1}, True),
    ("context.a == context.b", {"a": decimal("2.5"), "b": decimal("2.5000")}, True),
    ("context.a == context.b", {"a": decimal("-0.5"), "b": decimal("-0.4999")}, False),
    ('context.a == decimal("-0.05")', {"a": decimal("-0.0500")}, True),
    ('context.a.lessThanOrEqual(decimal("0.0"))', {"a": decimal("0.0000")}, True),
    ('context.a.greaterThan(decimal("922337203685477.5806"))', {"a": decimal("922337203685477.5807")}, True),
    ('context.a.durationSince(context.b) <= duration("15m")', {"a": instant(NOW), "b": instant(NOW - 900_000)}, True),
    ('context.a.durationSince(context.b) <= duration("15m")', {"a": instant(NOW), "b": instant(NOW - 900_001)}, False),
    ('context.a.durationSince(context.b) >= duration("-1ms")', {"a": instant(NOW), "b": instant(NOW + 1)}, True),
    ('context.a.offset(duration("1d1h")) == context.b', {"a": instant(NOW), "b": instant(NOW + 90_000_000)}, True),
    ('context.a < datetime("2026-01-01")', {"a": instant(NOW - 1)}, True),
    ('context.a < datetime("2026-01-01T00:00:00Z")', {"a": instant(NOW)}, False),
    ('context.a == datetime("1969-12-31T23:59:59.999Z")', {"a": instant(-1)}, True),
    ("context.a == principal", {"a": AGENT}, True),
    ("principal == context.a", {"a": {"__entity": {"type": "Gateway::User", "id": "payer"}}}, False),
    ('["EUR", "USD"].contains(context.a)', {"a": "USD"}, True),
    ("[1, 2].contains(context.a)", {"a": True}, False),
    ('context.a.contains("x")', {"a": ["y", "x"]}, True),
    ("context.a.contains(context.b)", {"a": [decimal("1.0")], "b": decimal("1.00")}, True),
    ("context.a.isEmpty()", {"a": []}, True),
    ("context.a has b.c", {"a": {"b": {"c": 0}}}, True),
    ("context.a has b.c", {"a": {"b": {}}}, False),
    ("context.a has b.c", {"a": {}}, False),
    ("!context.a && context.b", {"a": False, "b": True}, True),
    ("context.a == -9223372036854775808", {"a": -(2**63)}, True),
]


@pytest.mark.parametrize(("condition", "context", "holds"), ANSWERED)
def test_a_plain_condition_is_answered_without_its_values(condition, context, holds):
    tree = parse(written([("when", condition)]))
    conditions = Conditions(VARIABLES)
    lowered = conditions.lower(tree)
    known = conditions.answer(context)
    assert known is not None
    assert conditions.rest([lowered]) is None
    assert asked([tree], context).allowed is holds
    assert asked([lowered], conditions.context(known)).allowed is holds


@pytest.mark.parametrize("condition", ["context.a == 1", "context.a.b == 1", "context.a has b", "context.a.isEmpty()"])
def test_a_condition_on_an_absent_value_is_left_out_so_that_cedar_fails(condition):
    conditions = Conditions(VARIABLES)
    lowered = conditions.lower(parse(written([("when", condition)])))
    assert conditions.answer({}) == (None,)
    assert asked([lowered], conditions.context((None,))).errors == ("policy policy0 could not be evaluated",)


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("context.a == 1", 2**63),
        ("context.a == 1", 1.0),
        ("context.a == 1", None),
        ("context.a == 1", {"b": 1}),
        ("context.a == 1", [1]),
        ("context.a == 1", {"__extn": {"fn": "ip", "arg": "::1"}}),
        ("context.a == 1", {"__extn": {"fn": "decimal", "arg": "1"}}),
        ("context.a == 1", {"__extn": {"fn": "decimal", "arg": "922337203685477.5808"}}),
        ("context.a == 1", {"__extn": {"fn": "datetime", "arg": "2026-02-30T00:00:00.000Z"}}),
        ("context.a == 1", {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00.000+0100"}}),
        ("context.a == 1", {"__extn": {"fn": "duration", "arg": "15"}}),
        ("context.a == 1", {"__extn": {"fn": "duration", "arg": ""}}),
        ("context.a == 1", extension("datetime", "2026-01-01Z")),
        ("context.a == 1", {"__extn": "2026-01-01"}),
        ("context.a == 1", {"__entity": {"type": "T"}}),
        ("context.a == 1", {"__entity": {"type": "T", "id": 1}}),
        ("context.a < 1", "x"),
        ("context.a < 1", decimal("1.0")),
        ("context.a.lessThan(context.a)", instant(NOW)),
        ("context.a", 1),
        ("context.a.b == 1", 1),
        ("context.a.b == 1", AGENT),
        ("context.a has b", AGENT),
        ("context.a has b", 1),
        ("context.a.contains(1)", 1),
        ("context.a.isEmpty()", "x"),
        ('context.a.durationSince(context.a) == duration("0s")', 1),
        ("context.a.offset(context.a) == context.a", instant(NOW)),
    ],
)
def test_a_value_of_an_unexpected_form_is_left_to_cedar(condition, value):
    conditions = Conditions(VARIABLES)
    conditions.lower(parse(written([("when", condition)])))
    assert conditions.answer({"a": value}) is None


@pytest.mark.parametrize(
    "condition",
    [
        'context.a like "x*"',
        "context.a + 1 == 2",
        "context.a is Gateway::Agent",
        "context.a in principal",
        "principal.tier == context.b + 1",
        "[context.a].contains(1)",
        '[ip("::1")].contains(context.a)',
        'context.a == datetime("tomorrow")',
        "context == {a: 1}",
        "principal has tier",
        "principal == resource",
        "1 < 2",
        "true",
    ],
)
def test_what_has_no_plain_meaning_stays_as_it_is(condition):
    conditions = Conditions(VARIABLES)
    tree = parse(written([("when", condition)]))
    assert conditions.lower(tree) == tree
    assert conditions.answer({}) == ()


def test_what_is_left_to_cedar_is_sent_with_what_it_reads():
    text = 'context.a like "x*" && context.b == 1 && context.r.a + 1 == 2'
    conditions = Conditions(VARIABLES)
    rest = conditions.rest([conditions.lower(parse(written([("when", text)])))])
    assert rest is not None
    assert rest.prune({"a": "xy", "b": 1, "c": 3, "r": {"a": 1, "b": 2}}) == {"a": "xy", "r": {"a": 1}}


def test_a_condition_that_two_policies_share_is_answered_once():
    conditions = Conditions(VARIABLES)
    for effect in ("permit", "forbid"):
        conditions.lower(parse(written([("when", "context.a == 1 && context.a == 1")], effect)))
    assert conditions.answer({"a": 1}) == (True,)
