"""The command as a host runs it: another process, a bare PATH, pipes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.bridge.fake_gateway import FakeGateway

Program = Callable[..., "subprocess.Popen[bytes]"]
LINE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}).encode() + b"\n"


def test_it_answers_under_a_bare_path_and_says_nothing_else(gateway: FakeGateway, program: Program) -> None:
    with program() as process:
        out, err = process.communicate(LINE, timeout=30)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers] == [1]
    assert err == b""
    assert process.returncode == 0


def test_the_agent_named_on_the_command_line_is_the_one_it_acts_as(gateway: FakeGateway, program: Program) -> None:
    with program("--agent", "stranger") as process:
        out, _ = process.communicate(LINE, timeout=30)
    assert "stranger" in json.loads(out)["result"]["content"][0]["text"]


def test_an_agent_name_that_is_none_is_a_usage_error(program: Program) -> None:
    with program("--agent", "a\nb") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, b"")
    assert b"--agent" in err


def test_everything_goes_to_the_endpoint_named_on_the_command_line(gateway: FakeGateway, program: Program) -> None:
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (opening, ready))
    with program("--endpoint", "team-a") as process:
        out, err = process.communicate(lines + LINE, timeout=30)
    assert (len(out.splitlines()), err) == (2, b"")
    assert "DELETE" in [verb for verb, _, _ in gateway.received]
    assert gateway.paths == {"/mcp/team-a"}


def test_an_endpoint_that_is_no_name_is_a_usage_error(program: Program) -> None:
    with program("--endpoint", "../-/status") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, b"")
    assert b"--endpoint" in err


def test_a_run_named_on_the_command_line_is_begun_anew_by_every_process(gateway: FakeGateway, program: Program) -> None:
    for _ in range(2):
        with program("--run", "job-42") as process:
            process.communicate(LINE + LINE.replace(b'"id": 1', b'"id": 2'), timeout=30)
    calls = [headers for verb, headers, _ in gateway.received if verb == "POST"]
    assert {each["Toolgate-Run"] for each in calls} == {"job-42"}
    attempts = [each["Toolgate-Attempt"] for each in calls]
    assert (attempts[0], attempts[2]) == (attempts[1], attempts[3])
    assert attempts[0] != attempts[2]
    with program("--run", "two words") as process:
        _, err = process.communicate(timeout=30)
    assert (process.returncode, b"--run" in err) == (2, True)


def test_an_interrupt_ends_it_quietly(gateway: FakeGateway, program: Program) -> None:
    with program() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LINE)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")


def test_a_host_that_stops_reading_is_no_crash(gateway: FakeGateway, program: Program) -> None:
    with program() as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(LINE * 3, timeout=30)
    assert (process.returncode, err) == (0, b"")


def test_it_imports_nothing_that_is_not_in_the_standard_library() -> None:
    script = "import sys; import gateway.__main__, gateway.bridge; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    foreign: list[Any] = [name for name in loaded if name.split(".")[0] in {"pydantic", "typer", "mcp", "yaml", "rich"}]
    assert foreign == []
    assert "gateway.bridge.relay" in loaded
