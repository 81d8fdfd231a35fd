"""What is said of servers."""

import pytest

from gateway.cli.servers import breaker_text


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
