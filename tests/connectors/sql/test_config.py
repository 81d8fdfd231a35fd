"""What an entry for a database may say, and what is refused before anything is opened."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.sql import SqlConnector
from connectors.sql.postgres import must_encrypt


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "mysql://x/y"}, "postgresql://user@host"),
        ({"url": "sqlite://"}, "sqlite:///file.db"),
        ({"url": "sqlite://host/file.db"}, "sqlite:///file.db"),
        ({"url": "postgresql://user:secret@host/shop"}, "goes into `password`"),
        ({"url": "postgresql://user@host/shop?password=secret"}, "goes into `password`"),
        ({"url": "sqlite:///a", "statements": {"query": {"sql": "SELECT 1", "effect": "read"}}}, "already"),
        ({"url": "sqlite:///a", "statements": {"a b": {"sql": "SELECT 1", "effect": "read"}}}, "not a tool's name"),
        ({"url": "sqlite:///a", "statements": {"a": {"sql": "DELETE FROM a", "effect": "read"}}}, "statement a: Only"),
        ({"url": "sqlite:///a", "statements": {"a": {"sql": "SELECT 1; SELECT 2", "effect": "write"}}}, "statement a"),
        ({"url": "sqlite:///a", "statements": {"a": {"sql": "SELECT :x", "effect": "read"}}}, "does not declare"),
        (
            {"url": "sqlite:///a", "statements": {"a": {"sql": "SELECT 1", "effect": "read", "parameters": {"x": {}}}}},
            "does not use :x",
        ),
        (
            {
                "url": "sqlite:///a",
                "statements": {"a": {"sql": "SELECT 1", "effect": "read", "parameters": {"x y": {}}}},
            },
            "parameter's name",
        ),
        ({"url": "sqlite:///a", "statements": {"a": {"sql": "SELECT mine()", "effect": "read"}}}, "`functions`"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_reason(settings: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SqlConnector.configure(settings, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "encrypted"),
    [
        ("postgresql://a@db.example.com/shop", True),
        ("postgresql://a@/shop?host=db.example.com", True),
        ("postgresql://a@db.example.com/shop?sslmode=disable", False),
        ("postgresql://a@localhost/shop", False),
        ("postgresql://a@/shop?host=/run/postgresql", False),
    ],
)
def test_a_server_on_another_machine_must_show_its_certificate(url: str, encrypted: bool) -> None:
    assert must_encrypt(url) is encrypted
