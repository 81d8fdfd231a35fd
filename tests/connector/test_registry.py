"""Which connectors there are is known before the first call, or nothing starts."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from gateway.connector.registry import GROUP, ConnectorLoadError, build_upstream, fixed_in, load_connectors
from tests.fixtures.payments_connector import Payments

PAYMENTS = "tests.fixtures.payments_connector"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_installed_connectors_are_found() -> None:
    assert load_connectors()["mcp"].name == "mcp"


def test_a_plugin_is_loaded_by_its_entry_point() -> None:
    assert load_connectors([point("payments", f"{PAYMENTS}:Payments")]) == {"payments": Payments}


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([point("payments", f"{PAYMENTS}:Payments")] * 2, "two installed packages"),
        ([point("pay", f"{PAYMENTS}:Payments")], "must set name = 'pay'"),
        ([point("payments", f"{PAYMENTS}:PaymentsApi")], "not a subclass of Connector"),
        ([point("payments", f"{PAYMENTS}:Nothing")], "cannot be loaded"),
        ([point("payments", "no.such.module:X")], "cannot be loaded"),
        ([point("broken", "tests.fixtures.broken_connector:Broken")], "effect=Effect.READ"),
    ],
)
def test_a_plugin_that_cannot_be_used_fails_loudly(points: list[EntryPoint], why: str) -> None:
    with pytest.raises(ConnectorLoadError, match=why):
        dict(load_connectors(points))


def test_one_that_nobody_asks_for_is_not_imported() -> None:
    registry = load_connectors([point("payments", f"{PAYMENTS}:Payments"), point("gone", "no.such.module:X")])
    assert (list(registry), len(registry), "gone" in registry) == (["payments", "gone"], 2, True)
    assert registry["payments"] is registry.get("payments") is Payments
    assert registry.get("other") is None


def test_a_section_names_its_connector_or_is_an_mcp_server() -> None:
    registry: dict[str, Any] = {"payments": Payments}
    section = {"connector": "payments", "base_url": "http://x", "api_key": "${env:K}"}
    assert build_upstream("p", section, registry, environ={"K": "v"}).traits("pay") is not None
    with pytest.raises(ConnectorLoadError, match=r"mcpServers\.p: no connector 'mcp' .*installed: payments"):
        build_upstream("p", {"command": "x"}, registry)
    with pytest.raises(ConnectorLoadError, match="installed: none"):
        build_upstream("p", {"connector": "x"}, {})


def test_what_counts_from_a_start_on_is_all_but_the_credentials_that_the_gateway_keeps() -> None:
    registry = load_connectors()
    web = {"url": "https://x.example/mcp", "headers": {"Authorization": "a"}, "trust": 10, "about": {"owner": "us"}}
    same = {**web, "headers": {"Authorization": "b"}, "trust": 20, "about": {}}
    assert fixed_in(web, registry) == fixed_in(same, registry)
    signing = {"type": "client_credentials", "client_id": "us", "client_secret": "s", "issuer": "https://idp.example"}
    keeping = {"url": web["url"], "auth": signing}
    assert fixed_in(keeping, registry) == fixed_in({**keeping, "auth": {**signing, "client_secret": "t"}}, registry)
    for other in ({**web, "url": "https://y.example/mcp"}, {"url": web["url"]}, keeping):
        assert fixed_in(web, registry) != fixed_in(other, registry)
    local = {"command": "sh", "env": {"KEY": "a"}}
    assert fixed_in(local, registry) != fixed_in({**local, "env": {"KEY": "b"}}, registry)
