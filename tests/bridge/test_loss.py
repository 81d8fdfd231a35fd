"""What a host sees when the gateway is not there, goes away, or comes back."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.bridge.launch import GatewayDown, Home, Launcher
from tests.bridge.conftest import Bridge
from tests.bridge.fake_gateway import KEY, MODERN, FakeGateway

META = {"_meta": {MODERN: "2026-07-28"}}
Make = Callable[..., Bridge]


def _starts(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "starts").read_text().split()]


def test_the_gateway_is_started_when_it_is_not_running(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.call(1, "echo")
    assert bridge.hear()["result"]["pid"] == _starts(tmp_path)[0]


def test_two_bridges_start_one_gateway(make_bridge: Make, starter: tuple[str, ...], tmp_path: Path) -> None:
    bridges = [make_bridge(command=starter) for _ in range(2)]
    for bridge in bridges:
        bridge.call(1, "echo")
    assert bridges[0].hear()["result"]["pid"] == bridges[1].hear()["result"]["pid"]
    assert len(_starts(tmp_path)) == 1


def test_a_run_file_of_a_gateway_that_was_killed_is_not_believed(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / ".toolgate").mkdir()
    (tmp_path / ".toolgate/run.json").write_text(f'{{"pid": {ended.pid}, "url": "http://127.0.0.1:9"}}')
    bridge = make_bridge(command=starter)
    bridge.call(1, "echo")
    assert "result" in bridge.hear()


def test_a_call_under_way_when_the_gateway_dies_is_answered_as_unknown_and_not_repeated(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.call(1, "die", **META)
    result = bridge.hear()["result"]
    assert result["isError"] is True
    assert result["_meta"]["toolgate/code"] == "outcome_unknown"
    bridge.call(2, "echo", **META)
    assert bridge.hear()["id"] == 2
    assert len(_starts(tmp_path)) == 2


def test_a_session_is_opened_again_with_a_gateway_that_was_restarted(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.open()
    os.kill(_starts(tmp_path)[0], signal.SIGKILL)
    bridge.call(1, "echo")
    assert bridge.hear()["result"]["pid"] == _starts(tmp_path)[1]


def test_a_forgotten_session_is_opened_again_and_the_refused_call_sent_once_more(
    bridge: Bridge, gateway: FakeGateway
) -> None:
    bridge.open()
    gateway.wait_until(lambda g: g.heard_of("notifications/initialized"))
    gateway.sessions.clear()
    bridge.call(1, "echo")
    assert bridge.hear()["id"] == 1
    openings = gateway.heard_of("initialize")
    assert [body["params"] for _, body in openings] == [openings[0][1]["params"]] * 2
    assert len(gateway.heard_of("notifications/initialized")) == 2


def test_a_notification_in_a_forgotten_session_opens_it_again(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    gateway.wait_until(lambda g: g.heard_of("notifications/initialized"))
    gateway.sessions.clear()
    bridge.say({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
    gateway.wait_until(lambda g: len(g.heard_of("notifications/roots/list_changed")) == 2)


def test_a_session_that_is_not_taken_up_again_is_said_to_be_lost(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    gateway.sessions.clear()
    gateway.refuses_sessions = True
    bridge.call(1, "echo")
    assert "reconnect" in bridge.hear()["result"]["content"][0]["text"]
    bridge.ask(2, "tools/list")
    assert "reconnect" in bridge.hear()["error"]["message"]


def test_a_dropped_read_is_asked_again_until_it_is_clear_that_it_will_not_do(
    bridge: Bridge, gateway: FakeGateway
) -> None:
    bridge.ask(1, "resources/read", {"name": "drop"})
    assert bridge.hear()["error"]["data"]["code"] == "unavailable"
    assert len(gateway.received) == 4


def test_a_gateway_that_cannot_start_tells_the_model_what_it_said(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=(*starter, "--fail", "gateway.yaml:3:1: no such key"))
    bridge.call(1, "echo")
    text = bridge.hear()["result"]["content"][0]["text"]
    assert "gateway.yaml:3:1: no such key" in text
    assert "toolgate up --config" in text
    bridge.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert bridge.leave() == b""


def test_a_gateway_that_cannot_even_be_run_is_an_answer_too(make_bridge: Make) -> None:
    bridge = make_bridge(command=("no-such-program",))
    bridge.ask(1, "tools/list")
    assert "no-such-program" in bridge.hear()["error"]["message"]


def test_an_agent_the_gateway_does_not_know_is_told_where_to_add_it(gateway: FakeGateway, tmp_path: Path) -> None:
    launcher = Launcher(Home(tmp_path / "gateway.yaml"), "stranger")
    with pytest.raises(GatewayDown, match=r"'stranger'.*Add it under `agents:`"):
        launcher.line()


def test_a_missing_local_key_is_named(gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / ".toolgate/local.key").unlink()
    with pytest.raises(GatewayDown, match=r"local\.key.*toolgate doctor"):
        Launcher(Home(tmp_path / "gateway.yaml"), "local").line()


def test_a_gateway_that_never_answers_is_given_up_on(tmp_path: Path) -> None:
    launcher = Launcher(Home(tmp_path / "gateway.yaml"), "local", ("sleep", "5"), patience_s=0.1)
    with pytest.raises(GatewayDown, match="did not answer within"):
        launcher.line()


def test_leaving_ends_the_gateway_that_was_started_for_us(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.call(1, "echo")
    bridge.hear()
    bridge.leave()
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(_starts(tmp_path)[0], 0)


def test_the_key_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".toolgate").mkdir()
    (tmp_path / ".toolgate/local.key").write_bytes(KEY)
    assert Home(tmp_path / "gateway.yaml").bearer("a.b").startswith("tgl.a.b.")
