"""Texts that would crash the engine never reach it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import PolicyLoadError, PolicySource
from gateway.policy.cedar import CedarError, parse
from gateway.policy.source import split
from tests.policy.acme import load

SCOPE = '@id("a") permit (principal, action in Gateway::Action::"call_tool", resource)'


def when(condition):
    return f"{SCOPE} when {{ {condition} }};"


def chained(operator, count, term="true"):
    return when(f" {operator} ".join([term] * count))


CRASHERS = {
    "parentheses": (when("(" * 700 + "true" + ")" * 700), "too_deep"),
    "sets": (when("[" * 700 + "1" + "]" * 700), "too_deep"),
    "records": (when("{a:" * 700 + "1" + "}" * 700), "too_deep"),
    "terms of and": (chained("&&", 2500), "too_many_terms"),
    "terms of or": (chained("||", 2500), "too_many_terms"),
    "a sum": (chained("+", 5000, "1"), "too_deep"),
    "a product": (chained("*", 5000, "1"), "too_deep"),
    "a difference": (chained("-", 5000, "1"), "too_deep"),
    "attributes": (when("context" + ".a" * 5000), "too_deep"),
    "indexes": (when("context" + '["a"]' * 5000), "too_deep"),
    "calls": (when("context.a" + ".contains(1)" * 3000), "too_deep"),
    "tested attributes": (when("context has " + ".".join(["a"] * 5000)), "too_deep"),
    "conditionals": (when("if true then true else " * 2500 + "true"), "too_deep"),
    "attributes in parentheses": (when("(" * 59 + "context" + (".a" * 40 + ")") * 59), "too_deep"),
    "length": (SCOPE + ";" + " " * (64 * 1024), "too_long"),
}


@pytest.mark.parametrize("name", CRASHERS)
def test_a_text_too_deep_for_the_engine_is_refused_before_it_is_parsed(name):
    text, code = CRASHERS[name]
    with pytest.raises(PolicyLoadError) as refused:
        load(text)
    assert [problem.code for problem in refused.value.problems] == [code]


def test_what_is_within_the_limits_is_parsed():
    for text in (chained("&&", 91), when("(" * 58 + "true" + ")" * 58), when("context.base.taint.isEmpty()")):
        load(text)


def test_what_the_engine_itself_finds_too_deep_is_a_problem_and_not_a_crash():
    with pytest.raises(PolicyLoadError, match="nesting exceeds"):
        load(when("if true then " * 120 + "true" + " else true" * 120))


def test_an_unclosed_string_is_a_problem():
    with pytest.raises(PolicyLoadError, match=r"1:\d+: syntax: a string is not closed"):
        load(SCOPE + ' when { context.base.run.id == "x };')


def test_statements_know_their_place():
    statements, problems = split(PolicySource("f", 'permit (a; b);\n\n  // why\n  forbid\n(c); "x;y" ) ;'))
    assert problems == []
    assert [(one.line, one.column, one.text) for one in statements] == [
        (1, 1, "permit (a; b);"),
        (4, 3, "forbid\n(c);"),
        (5, 6, '"x;y" ) ;'),
    ]


@given(st.text(alphabet='abpermit()[]{};,.:="\\&|+-*! \n/@if', max_size=300))
def test_any_text_is_either_measured_or_refused_and_never_crashes_the_engine(text):
    statements, _ = split(PolicySource("f", text))
    for statement in statements:
        assert statement.text in text
        try:
            verdict = str(parse(statement.text).effect)
        except CedarError:
            verdict = "refused"
        assert verdict in {"permit", "forbid", "refused"}


@given(st.lists(st.sampled_from(["permit(principal,action,resource);", "// c\n", " ", "\n", '@id("a;b")'])))
def test_splitting_loses_nothing_but_space_and_comments(parts):
    text = "".join(parts)
    statements, _ = split(PolicySource("f", text))
    squeezed = "".join(part for part in parts if part.strip() and not part.startswith("//"))
    assert "".join("".join(statement.text.split()) for statement in statements).replace("//c", "") == squeezed
