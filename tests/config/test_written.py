"""Secrets that are written into the sections of servers."""

from typing import Any

import pytest

from gateway.config.written import written_secrets


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ({"env": {"ACME_KEY": "s3cret-value", "LOG_LEVEL": "debugging"}}, {"s3cret-value"}),
        ({"headers": {"Authorization": "Bearer abc.def-123", "X-Tenant": "acme-tenant"}}, {"abc.def-123"}),
        ({"headers": {"X-Api-Key": "0123456789", "Cookie": "sid=abcdef"}}, {"0123456789", "sid=abcdef"}),
        ({"auth": {"type": "api_key", "name": "X-Whatever", "value": "0123456789"}}, {"0123456789"}),
        ({"auth": {"type": "basic", "username": "somebody", "password": "0123456789"}}, {"0123456789"}),
        ({"args": ["--api-key", "0123456789", "--token=abcdefgh", "whatever.json"]}, {"0123456789", "abcdefgh"}),
        ({"url": "https://x.example/mcp?api_key=0123456789&page=first-page"}, {"0123456789"}),
        ({"env": {"DSN": "postgres://me:pa55word@db/x"}}, {"pa55word", "postgres://me:pa55word@db/x"}),
        ({"env": {"AUTH_MODE": "client_credentials", "TOKEN_URL": "https://x.example/t", "AUTHOR": "somebody"}}, {}),
        (
            {"env": {"PRIMARY_KEY": "customer_id", "SSH_KEY": "/etc/ssh/id_rsa", "X_KEY": "customer_id7"}},
            {"customer_id7"},
        ),
        ({"env": {"SORT_KEY": "createdAt", "X_KEY": "aB3dEfGh", "Y_KEY": "abcdEFGH"}}, {"aB3dEfGh", "abcdEFGH"}),
        ({"env": {"DB_PASSWORD": "correcthorse", "API_TOKEN": "/a/b/c/d/e"}}, {"correcthorse", "/a/b/c/d/e"}),
        ({"env": {"API_KEY": "none", "KEY_FILE": "/etc/keys/acme"}, "token": 12345678, "timeout": None}, {}),
    ],
)
def test_what_is_a_secret_by_its_name_or_place_is_found_and_nothing_else(section: Any, found: Any) -> None:
    assert written_secrets({"acme": section}) == set(found)
