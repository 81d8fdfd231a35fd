"""Environments kept apart: an agent uses nothing of a server that belongs to another."""

import pytest

from gateway.model.operation import operation
from gateway.policy import Bundle, Outlook, PolicySource, compile_separation
from tests.policy.acme import AGENTS, CHECK, LETTER, MAIL, PAY, PAYER, PAYMENT, PERMIT_ALL, TOOLS, ask

READ = '@id("read") permit (principal, action == Gateway::Action::"read_resource", resource);'


def kept_apart(agents: dict[str, str], servers: dict[str, str]) -> Bundle:
    written = [PolicySource("all.cedar", PERMIT_ALL), PolicySource("read.cedar", READ)]
    return Bundle.load([*written, *compile_separation(agents, servers)], TOOLS, AGENTS)


def test_an_agent_uses_nothing_of_a_server_of_another_environment() -> None:
    bundle = kept_apart({"payer": "staging", "reader": "production"}, {"payments": "production", "fraud": "staging"})
    refused = ask(bundle, PAY, PAYMENT)
    assert (refused.allowed, refused.policies) == (False, ("environment.payer",))
    assert refused.message == "payer is of the environment staging, and this server of another. Ask the operator."
    assert not ask(bundle, operation("payments", "resources/read"), {"uri": "file:///a"}).allowed
    assert ask(bundle, operation("fraud", "resources/read"), {"uri": "file:///a"}).allowed
    assert ask(bundle, CHECK, PAYMENT).allowed
    assert ask(bundle, MAIL, LETTER).allowed  # it is of none
    assert bundle.outlook(PAYER, PAY) is Outlook.NEVER


def test_of_very_many_servers_each_is_kept_apart() -> None:
    servers = {f"s{number}": "production" for number in range(120)} | {"payments": "production"}
    bundle = kept_apart({"payer": "staging"}, servers)
    assert not ask(bundle, PAY, PAYMENT).allowed
    assert len([policy for policy in bundle.policies if policy.terms.id.startswith("environment.")]) == 3


@pytest.mark.parametrize("servers", [{}, {"payments": "staging"}])
def test_where_nothing_is_to_be_kept_apart_nothing_is_compiled(servers: dict[str, str]) -> None:
    assert compile_separation({"payer": "staging"}, servers) == ()
