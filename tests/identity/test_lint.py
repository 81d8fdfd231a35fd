"""Credentials that cannot be audited or never end are found before they hurt."""

from dataclasses import replace

from gateway.identity.lint import lint_tokens
from gateway.store.ports import TokenRecord
from tests.identity.doubles import agents

NOW = 1_800_000_000_000
DAY = 86_400_000
PEOPLE = {"bob"}
AGENTS = agents(payer={}, reader={}, bridge={"auth": {"local": True}})


def token(agent: str, digest: str = "d", days: float = 90) -> TokenRecord:
    return TokenRecord(f"tg_{agent}{digest}", agent, digest, NOW, NOW + round(days * DAY))


def test_good_tokens_are_silent() -> None:
    assert lint_tokens(AGENTS, PEOPLE, [token("payer", "a"), token("reader", "b")], NOW) == []


def test_one_token_for_two_agents_is_an_error() -> None:
    [found] = lint_tokens(AGENTS, PEOPLE, [token("payer"), token("reader")], NOW)
    assert found.error
    assert "'payer' and 'reader' share one token" in found.message


def test_tokens_that_end_too_late_or_too_soon_or_serve_nobody_are_warned_about() -> None:
    tokens = [token("payer", "a", 400), token("reader", "b", 3), token("gone", "c"), token("bridge", "e")]
    found = lint_tokens(AGENTS, PEOPLE, tokens, NOW)
    assert [finding.error for finding in found] == [False] * 4
    for finding, words in zip(found, ("within a year", "within 7 days", "not configured", "not accept"), strict=True):
        assert words in finding.message
        assert "fix: toolgate token" in finding.message


def test_dead_tokens_are_left_alone() -> None:
    dead = TokenRecord("tg_1", "reader", "d", NOW - DAY, NOW + 400 * DAY, revoked_ms=NOW - 1)
    assert lint_tokens(AGENTS, PEOPLE, [token("payer"), dead, token("gone", "d", -1)], NOW) == []


def test_a_token_that_was_replaced_and_ends_after_an_overlap_is_left_alone() -> None:
    replaced = replace(token("payer", "a", 400), revoked_ms=NOW + 60_000)
    assert lint_tokens(AGENTS, PEOPLE, [replaced, token("payer", "b")], NOW) == []


def test_the_token_of_a_person_is_theirs_while_they_are_configured() -> None:
    assert lint_tokens(AGENTS, PEOPLE, [token("person:bob")], NOW) == []
    [found] = lint_tokens(AGENTS, PEOPLE, [token("person:eve")], NOW)
    assert "fix: toolgate token revoke person:eve" in found.message
