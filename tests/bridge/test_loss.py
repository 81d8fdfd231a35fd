"""What a host sees when the gateway is not there, goes away, or comes back."""

import fcntl
import os
import signal
import subprocess
import threading
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
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "outcome_unknown"
    bridge.ask(2, "tools/list", META)
    assert bridge.hear()["result"]["pid"] == _starts(tmp_path)[1]


def test_a_session_is_opened_again_with_a_gateway_that_was_restarted(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.open()
    os.kill(_starts(tmp_path)[0], signal.SIGKILL)
    bridge.ask(1, "tools/list")
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


@pytest.mark.parametrize("name", ["short", "empty", "babble", "reset", "drop"])
def test_a_call_whose_answer_breaks_off_has_an_unknown_outcome_and_is_sent_once(
    bridge: Bridge, gateway: FakeGateway, name: str
) -> None:
    bridge.call(1, name)
    assert bridge.hear()["result"]["_meta"]["io.toolgate/refusal"]["code"] == "outcome_unknown"
    assert len(gateway.heard_of("tools/call")) == 1


def test_two_calls_refused_with_one_forgotten_session_open_it_again_once(bridge: Bridge, gateway: FakeGateway) -> None:
    bridge.open()
    gateway.wait_until(lambda g: g.heard_of("notifications/initialized"))
    gateway.forgetting = threading.Barrier(2)
    gateway.sessions.clear()
    bridge.call(1, "echo")
    bridge.call(2, "echo")
    assert {bridge.hear()["id"], bridge.hear()["id"]} == {1, 2}
    assert len(gateway.heard_of("initialize")) == 2


def test_a_gateway_that_goes_away_whenever_a_session_is_opened_is_given_up_on(
    bridge: Bridge, gateway: FakeGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    bridge.open()
    gateway.wait_until(lambda g: g.heard_of("notifications/initialized"))
    gateway.sessions.clear()
    gateway.drops_sessions = True
    bridge.call(1, "echo")
    assert "again and again" in bridge.hear()["result"]["content"][0]["text"]
    bridge.say({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
    bridge.ask(2, "tools/list")
    assert "again and again" in bridge.hear()["error"]["message"]
    assert "notifications/roots/list_changed was not delivered" in capfd.readouterr().err


@pytest.mark.parametrize("first", ["notifications/anything", "tools/list"])
def test_a_gateway_that_takes_no_more_connections_is_replaced(
    make_bridge: Make, gateway: FakeGateway, starter: tuple[str, ...], tmp_path: Path, first: str
) -> None:
    bridge = make_bridge(command=starter)
    bridge.call(1, "last")
    bridge.hear()
    gateway.wait_until(lambda g: g.closed == 1)
    gateway.shutdown()
    gateway.server_close()
    bridge.say({"jsonrpc": "2.0", "method": first} | ({"id": 2} if first == "tools/list" else {}))
    bridge.call(3, "echo")
    answers = [bridge.hear() for _ in range(2 if first == "tools/list" else 1)]
    assert {answer["result"]["pid"] for answer in answers} == {_starts(tmp_path)[0]}


def test_a_notification_that_cannot_be_delivered_is_told_on_stderr(
    bridge: Bridge, gateway: FakeGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway.treats_notifications = "drop"
    bridge.say({"jsonrpc": "2.0", "method": "notifications/lost"})
    gateway.wait_until(lambda g: g.heard_of("notifications/lost"))
    gateway.treats_notifications = "refuse"
    bridge.say({"jsonrpc": "2.0", "method": "notifications/refused"})
    bridge.call(1, "echo")
    bridge.hear()
    told = capfd.readouterr().err
    assert "notifications/lost was not delivered" in told
    assert "notifications/refused was refused with HTTP status 400" in told


def test_a_notification_starts_a_gateway_that_has_gone(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = make_bridge(command=starter)
    bridge.call(1, "die")
    bridge.hear()
    bridge.say({"jsonrpc": "2.0", "method": "notifications/anything"})
    bridge.ask(2, "tools/list")
    assert bridge.hear()["result"]["pid"] == _starts(tmp_path)[1]


def test_a_lease_that_is_refused_for_now_is_waited_for(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.refuses_leases = 2
    launcher = Launcher(Home(tmp_path / "gateway.yaml"), "local", ("sleep", "5"), patience_s=20)
    assert launcher.line().lease.status == 200
    launcher.leave()
    assert gateway.refuses_leases == 0


def test_a_bridge_waits_only_so_long_for_another_that_is_starting_the_gateway(tmp_path: Path) -> None:
    (tmp_path / ".toolgate").mkdir()
    with (tmp_path / ".toolgate/start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GatewayDown, match="Another bridge"):
            Launcher(Home(tmp_path / "gateway.yaml"), "local", ("true",), patience_s=0.1).line()


def test_what_answers_at_an_old_address_but_is_no_gateway_of_ours_is_not_talked_to(
    make_bridge: Make, starter: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / ".toolgate").mkdir()
    (tmp_path / ".toolgate/local.key").write_bytes(KEY)
    (tmp_path / ".toolgate/run.json").write_text(f'{{"pid": {os.getpid()}, "url": "http://127.0.0.1:9"}}')
    bridge = make_bridge(command=starter)
    bridge.call(1, "echo")
    assert bridge.hear()["result"]["pid"] == _starts(tmp_path)[0]


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


def test_an_agent_that_may_not_come_by_the_key_of_the_machine_is_told_what_lets_it_in(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    launcher = Launcher(Home(tmp_path / "gateway.yaml"), "stranger")
    with pytest.raises(GatewayDown, match=r"gateway\.yaml it takes `agents: { stranger: { auth: { local: true } } }`"):
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
    while _is_running(_starts(tmp_path)[0]):
        assert time.monotonic() < deadline


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_key_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".toolgate").mkdir()
    (tmp_path / ".toolgate/local.key").write_bytes(KEY)
    assert Home(tmp_path / "gateway.yaml").bearer("a.b").startswith("tgl.a.b.")
