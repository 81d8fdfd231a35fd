"""What is declared of answers reaches the tools it is declared of."""

import pytest
from pydantic import ValidationError

from gateway.catalog.answers import CacheRule
from gateway.catalog.config import ToolRule, rule_for
from gateway.catalog.declared import answers_of
from gateway.model.answers import PLAIN, CacheScope, Caching, Label
from tests.pipeline.gate import rules_of


def test_a_time_is_short_for_a_cache_of_ones_own_that_every_write_ends() -> None:
    assert answers_of(ToolRule(cache="90s")).caching == Caching(90_000, CacheScope.AGENT, None)
    declared = CacheRule.model_validate({"ttl": "1h", "scope": "user", "invalidated_by": ["a.*"]})
    assert answers_of(ToolRule(cache=declared)).caching == Caching(3_600_000, CacheScope.USER, ("a.*",))


@pytest.mark.parametrize("wrong", ["60", "forever", {"ttl": "0s"}, {"scope": "user"}, {"ttl": "1m", "scope": "team"}])
def test_what_is_no_cache_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        ToolRule.model_validate({"cache": wrong})


def test_the_longest_pattern_says_how_a_tool_is_cached() -> None:
    rules = {"crm.*": ToolRule(cache="60s"), "crm.get": ToolRule(cache=CacheRule(ttl="5m", scope=CacheScope.USER))}
    assert answers_of(rule_for(rules, "crm.get")).caching == Caching(300_000, CacheScope.USER)
    assert answers_of(rule_for(rules, "crm.find")).caching == Caching(60_000)


def test_a_tool_of_which_nothing_is_declared_answers_plainly() -> None:
    catalog = rules_of(tools={"payments.list": ToolRule(cache="60s")}).catalog
    assert catalog.resolve("payments_list").answers.caching == Caching(60_000)
    assert catalog.resolve("payments_pay").answers is PLAIN


def test_the_labels_that_answers_can_carry_are_those_declared() -> None:
    rule = ToolRule.model_validate({"incomplete": {}, "stale": {"at": "seen", "after": "10m"}})
    assert answers_of(rule).labels == {Label.INCOMPLETE, Label.STALE}
    assert answers_of(ToolRule(ensure={"a": 1})).labels == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"incomplete": {"more": ["a..b"]}},
        {"incomplete": {"count": {"": "total"}}},
        {"stale": {"at": "seen"}},
        {"stale": {"at": "seen", "after": "soon"}},
        {"ensure": {"amount": "> many"}},
        {"ensure": {"amount": '>= "5"'}},
        {"ensure": {"amount": None}},
        {"ensure": {"amount": []}},
    ],
)
def test_what_cannot_be_judged_is_refused_at_load(wrong: object) -> None:
    with pytest.raises(ValidationError):
        ToolRule.model_validate(wrong)
