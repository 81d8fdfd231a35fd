"""What is said of servers."""

import pytest

from gateway.cli.servers import breaker_text, remedy_for


@pytest.mark.parametrize(
    ("breaker", "users", "text"),
    [
        ("closed", 0, "closed"),
        ("open", 3, "open"),
        ("half_open", 0, "half_open"),
        ("closed", 3, "closed, but not for 3 users' credentials"),
    ],
)
def test_a_breaker_that_is_closed_but_for_some_users_says_so(breaker: str, users: int, text: str) -> None:
    assert breaker_text({"breaker": breaker, "breaker_open_for": users}) == text


@pytest.mark.parametrize(
    ("entry", "look"),
    [
        ({"command": "uvx"}, "run its command by hand, or "),
        ({"url": "https://crm.example/mcp?key=k"}, "ask its url from this machine, as with curl -i, or "),
        ({"connector": "sql"}, ""),
    ],
)
def test_a_server_that_does_not_answer_is_to_be_looked_at_in_its_own_way(entry: dict[str, str], look: str) -> None:
    assert remedy_for(entry) == f"{look}correct its entry under mcpServers"
