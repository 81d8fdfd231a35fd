"""A host's servers as a configuration: the same servers, and no secret left in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.checking import check
from gateway.config.document import parse
from gateway.config.hosts import Host, HostFile
from gateway.config.importing import Import, import_hosts
from gateway.config.model import GatewayConfig


def host(servers: dict[str, Any], name: str = "claude-desktop") -> HostFile:
    data = {"mcpServers": servers}
    return HostFile(Host(name, name.title(), Path("host.json")), json.dumps(data), data)


def configuration(plan: Import) -> GatewayConfig:
    return check(parse(plan.text.encode(), "gateway.yaml"), GatewayConfig)


def test_each_host_becomes_an_agent_that_may_use_its_own_servers() -> None:
    time, fetch = {"command": "uvx", "args": ["time"]}, {"type": "http", "url": "https://x.example/mcp"}
    plan = import_hosts([host({"time": time, "fetch": fetch}), host({"time": time}, "cursor")], "ana")
    config = configuration(plan)
    assert config.mcpServers == {"time": time, "fetch": fetch}
    assert {name: agent.allow for name, agent in config.agents.items()} == {
        "claude-desktop": ["fetch.*", "time.*"],
        "cursor": ["time.*"],
    }
    assert all(agent.auth.local and agent.owner == "ana" for agent in config.agents.values())


@pytest.mark.parametrize(
    ("section", "clean", "secrets"),
    [
        ({"env": {"GITHUB_TOKEN": "abcdef"}}, {"env": {"GITHUB_TOKEN": "${secret:github_token}"}}, {"abcdef"}),
        ({"env": {"PATH": "/bin", "N": 3}}, {"env": {"PATH": "/bin", "N": 3}}, set()),
        ({"env": {"API_KEY": "abc"}}, {"env": {"API_KEY": "abc"}}, set()),
        ({"env": {"API_KEY": "${MY_KEY}"}}, {"env": {"API_KEY": "${MY_KEY}"}}, set()),
        ({"env": {"X": "sk-abcdefgh12"}}, {"env": {"X": "${secret:x}"}}, {"sk-abcdefgh12"}),
        (
            {"headers": {"Authorization": "Bearer abcd"}},
            {"headers": {"Authorization": "Bearer ${secret:authorization}"}},
            {"abcd"},
        ),
        ({"args": ["--api-key", "abcdef", "x"]}, {"args": ["--api-key", "${secret:api_key}", "x"]}, {"abcdef"}),
        ({"headers": {"Authorization": "Bearer abc"}}, {"headers": {"Authorization": "Bearer abc"}}, set()),
        ({"args": ["--token=abcdef"]}, {"args": ["--token=${secret:token}"]}, {"abcdef"}),
        ({"args": ["--token", "--quiet", "abcdef"]}, {"args": ["--token", "--quiet", "abcdef"]}, set()),
        ({"args": ["--token", "${T}", 5]}, {"args": ["--token", "${T}", 5]}, set()),
        (
            {"args": ["ghp_0123456789abcdef01"]},
            {"args": ["${secret:key}"]},
            {"ghp_0123456789abcdef01"},
        ),
        (
            {"url": "https://x.example/mcp?api_key=abcdef&v=1"},
            {"url": "https://x.example/mcp?api_key=${secret:url_key}&v=1"},
            {"abcdef"},
        ),
        ({"type": "streamableHttp", "url": "https://x"}, {"type": "streamable-http", "url": "https://x"}, set()),
        ({"env": [], "args": {}}, {"env": [], "args": {}}, set()),
    ],
)
def test_what_looks_like_a_secret_goes_to_the_store(
    section: dict[str, Any], clean: dict[str, Any], secrets: set[str]
) -> None:
    plan = import_hosts([host({"a": {"command": "x", **section}})], "ana")
    assert configuration(plan).mcpServers["a"] == {"command": "x", **clean}
    assert set(plan.secrets.values()) == secrets


def test_the_same_name_for_two_secrets_keeps_both() -> None:
    sections = {f"s{n}": {"command": "x", "env": {"TOKEN": f"value-{n}"}} for n in range(3)}
    sections["same"] = {"command": "x", "env": {"TOKEN": "value-0"}}
    plan = import_hosts([host(sections)], "ana")
    assert plan.secrets == {"token": "value-0", "s1_token": "value-1", "s2_token": "value-2"}


def test_servers_of_one_name_that_differ_are_both_kept() -> None:
    plan = import_hosts(
        [host({"my server!": {"command": "a"}}), host({"my server!": {"command": "b"}}, "cursor")], "ana"
    )
    assert configuration(plan).mcpServers == {"my-server": {"command": "a"}, "my-server-2": {"command": "b"}}


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("text", "not an object"),
        ({"command": "x", "disabled": True}, "disabled"),
        ({"type": "websocket", "url": "https://x"}, "websocket"),
        ({"args": []}, "neither a command nor a url"),
    ],
)
def test_what_cannot_be_imported_stays_with_the_host_and_is_told(section: Any, why: str) -> None:
    plan = import_hosts([host({"a": section})], "ana")
    assert (plan.servers, plan.moved) == ((), {"claude-desktop": ()})
    assert why in plan.left[0]
    assert configuration(plan).mcpServers == {}


def test_what_is_not_taken_over_is_told() -> None:
    plan = import_hosts([host({"a": {"command": "x", "alwaysAllow": ["y"], "disabled": False}})], "ana")
    assert configuration(plan).mcpServers == {"a": {"command": "x"}}
    assert plan.left == ("Claude-Desktop: a: not taken over: alwaysAllow",)


@pytest.mark.parametrize("name", ["run", "tools", "results"])
def test_a_server_called_like_the_gateways_own_tools_gets_another_name(name: str) -> None:
    plan = import_hosts([host({name: {"command": "x"}})], "ana")
    assert configuration(plan).mcpServers == {f"{name}-2": {"command": "x"}}


def test_a_configuration_without_hosts_allows_nobody() -> None:
    config = configuration(import_hosts([], "ana"))
    assert (config.mcpServers, config.agents, config.policies) == ({}, {}, ["./policies"])


@given(st.text(min_size=1), st.text(), st.lists(st.text()))
def test_any_text_of_a_host_is_carried_over_as_it_is(name: str, command: str, args: list[str]) -> None:
    section = {
        "command": command,
        "args": [argument for argument in args if "-" not in argument and "${" not in argument],
    }
    if _has_surrogates(json.dumps(section, ensure_ascii=False)):
        return
    plan = import_hosts([host({name: section})], "ana")
    config = configuration(plan)
    assert list(config.mcpServers.values()) == ([section] if name != "toolgate" else [])


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
