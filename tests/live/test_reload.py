"""The rules of a running gateway change with its files: good ones at once, bad ones not at all."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.raw import changed, kill_probe, probe_section, probes
from tests.live.running import Running, environment, refusal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home: Path = tmp_path_factory.mktemp("reload")
    (home / "policies").mkdir()
    (home / "policies" / "own.cedar").write_text("", encoding="utf-8")
    (home / "gateway.yaml").write_text(
        probes(probe_section(home / "probe"), more="policies: [policies]"), encoding="utf-8"
    )
    up = Running(home, environment()).start()
    try:
        yield up
    finally:
        assert up.stop() == 0


@pytest.fixture(scope="module")
def token(running: Running) -> str:
    return running.token("payer")


def write_and_wait(running: Running, name: str, text: str, says: str) -> str:
    """Change a file of a running gateway; return what its log says of it."""
    before = len(running.log())
    (running.home / name).write_text(text, encoding="utf-8")
    give_up = time.monotonic() + 10
    while says not in running.log()[before:]:
        assert time.monotonic() < give_up, running.log()
        time.sleep(0.02)
    return running.log()[before:]


def tools(running: Running, token: str) -> set[str]:
    return {tool["name"] for tool in running.rpc("tools/list", token=token).json()["result"]["tools"]}


def allowed(running: Running, token: str) -> bool:
    return not running.call(token, "probe_echo", {}).get("isError")


BAD_CONFIGS: dict[str, Any] = {
    "no YAML": lambda text: text + "\nagents: [",
    "an unknown key": lambda text: text.replace("version: 1", "version: 1\nagentz: {}"),
    "a value of another type": lambda text: text.replace('allow: ["*"]', "allow: 7", 1),
    "a missing variable": lambda text: text.replace("PROBE_ERA: legacy", 'PROBE_ERA: "${NOT_THERE}"'),
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("change", BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_configuration_that_is_not_valid_leaves_the_old_one_in_force(
    running: Running, token: str, change: Any
) -> None:
    good = (running.home / "gateway.yaml").read_text(encoding="utf-8")
    said = write_and_wait(running, "gateway.yaml", change(good), "the old configuration stays in force")
    assert "gateway.yaml" in said
    assert all(re.match(r"\d{4}-\d\d-\d\d |    ", one) for one in said.splitlines())
    assert allowed(running, token)
    write_and_wait(running, "gateway.yaml", good, "the new rules are in force")


@pytest.mark.parametrize(
    "policy",
    ["permit (", 'forbid (principal, action == Gateway::Action::"probe.gone", resource);',
     "forbid (principal, action, resource) when { principal.nothing };"],
)  # fmt: skip
def test_policies_that_do_not_load_leave_the_old_ones_in_force(running: Running, token: str, policy: str) -> None:
    said = write_and_wait(running, "policies/own.cedar", policy, "the old ones stay in force")
    assert "own.cedar" in said
    assert allowed(running, token)
    status = json.loads(running.command("status", "--json").stdout)
    assert "own.cedar" in status["policy_problem"]
    write_and_wait(running, "policies/own.cedar", "", "the new rules are in force")
    assert allowed(running, token)


def test_what_is_taken_from_an_agent_is_neither_listed_nor_callable_from_then_on(running: Running, token: str) -> None:
    good = (running.home / "gateway.yaml").read_text(encoding="utf-8")
    assert "probe_echo" in tools(running, token)
    write_and_wait(
        running, "gateway.yaml", good.replace('allow: ["*"]', 'allow: ["probe.act"]', 1), "the new rules are in force"
    )
    assert tools(running, token) == {"probe_act"}
    assert refusal(running.call(token, "probe_echo", {}))["code"] == "denied"
    write_and_wait(running, "gateway.yaml", good, "the new rules are in force")
    assert allowed(running, token)


def test_a_forbid_takes_effect_with_the_next_call(running: Running, token: str) -> None:
    said = '@id("no-echo") forbid (principal, action == Gateway::Action::"probe.echo", resource);'
    write_and_wait(running, "policies/own.cedar", said, "the new rules are in force")
    refused = refusal(running.call(token, "probe_echo", {}))
    assert (refused["code"], refused["policies"]) == ("denied", ["no-echo"])
    write_and_wait(running, "policies/own.cedar", "", "the new rules are in force")
    assert allowed(running, token)


def test_a_person_approves_a_changed_tool_and_it_is_back(running: Running, token: str) -> None:
    probe = running.home / "probe"
    (probe / "tools.json").write_text(json.dumps(changed("echo", description="Better words.")), encoding="utf-8")
    kill_probe(probe)
    wait_for(running, token, "tool_quarantined")
    assert "probe_echo" not in tools(running, token)
    assert "description" in running.command("schema", "diff", "probe.echo").stdout
    running.command("schema", "approve", "probe.echo", "--yes")
    wait_for(running, token, "")
    assert "probe_echo" in tools(running, token)


def wait_for(running: Running, token: str, code: str) -> None:
    """Call until the call ends like this; empty for an answer."""
    give_up = time.monotonic() + 10
    while True:
        result = running.call(token, "probe_echo", {})
        if (refusal(result)["code"] if result.get("isError") else "") == code:
            return
        assert time.monotonic() < give_up, running.log()
        time.sleep(0.02)
