"""What is declared of answers reaches the tools it is declared of."""

import pytest
from pydantic import ValidationError

from gateway.catalog.config import CacheRule, ToolRule, rule_for
from gateway.model.answers import PLAIN, CacheScope, Caching
from tests.pipeline.gate import rules_of


def test_a_time_is_short_for_a_cache_of_ones_own_that_every_write_ends() -> None:
    assert ToolRule(cache="90s").caching == Caching(90_000, CacheScope.AGENT, None)
    declared = CacheRule.model_validate({"ttl": "1h", "scope": "user", "invalidated_by": ["a.*"]})
    assert ToolRule(cache=declared).caching == Caching(3_600_000, CacheScope.USER, ("a.*",))


@pytest.mark.parametrize("wrong", ["60", "forever", {"ttl": "0s"}, {"scope": "user"}, {"ttl": "1m", "scope": "team"}])
def test_what_is_no_cache_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        ToolRule.model_validate({"cache": wrong})


def test_the_longest_pattern_says_how_a_tool_is_cached() -> None:
    rules = {"crm.*": ToolRule(cache="60s"), "crm.get": ToolRule(cache=CacheRule(ttl="5m", scope=CacheScope.USER))}
    assert rule_for(rules, "crm.get").caching == Caching(300_000, CacheScope.USER)
    assert rule_for(rules, "crm.find").caching == Caching(60_000)


def test_a_tool_of_which_nothing_is_declared_answers_plainly() -> None:
    catalog = rules_of(tools={"payments.list": ToolRule(cache="60s")}).catalog
    assert catalog.resolve("payments_list").answers.caching == Caching(60_000)
    assert catalog.resolve("payments_pay").answers is PLAIN
