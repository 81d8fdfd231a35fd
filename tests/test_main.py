"""Which words start a gateway without the command line's library."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import plain_up
from tests.live.running import environment

NO_FLAGS: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["up"], ("gateway.yaml", NO_FLAGS)),
        (["up", "--config", "other.yaml"], ("other.yaml", NO_FLAGS)),
        (["up", "--config", "a", "--lease", "--config", "b"], ("b", {"--lease"})),
        (["up", "--standby", "--standby"], ("gateway.yaml", {"--standby"})),
    ],
)
def test_up_in_its_plainest_way_is_read_as_the_command_line_would(words: list[str], asked: object) -> None:
    assert plain_up(words) == asked


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["status"],
        ["--version", "up"],
        ["up", "--help"],
        ["up", "--config=other.yaml"],
        ["up", "--config"],
        ["up", "--config", ""],
        ["up", "--config", "--lease"],
        ["up", "--no-lease"],
        ["up", "now"],
    ],
)
def test_all_else_is_left_to_the_command_line(words: list[str]) -> None:
    assert plain_up(words) is None


@pytest.mark.parametrize("spelled", [["--config", "gateway.yaml"], ["--config=gateway.yaml"]])
def test_whoever_stops_up_before_it_serves_sees_the_same_end_however_it_was_asked_for(
    tmp_path: Path, spelled: list[str]
) -> None:
    (tmp_path / "gateway.yaml").write_text('version: 1\nserver: { listen: "127.0.0.1:0" }\n', "utf-8")
    (tmp_path / ".toolgate").mkdir(mode=0o700)
    words = [sys.executable, "-m", "gateway", "up", *spelled, "--standby"]
    with (tmp_path / ".toolgate" / "up.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr is not None
            assert "waiting to serve" in waiting.stderr.readline()
            waiting.send_signal(signal.SIGINT)
            rest = waiting.stderr.read()
    assert (waiting.returncode, rest) == (130, "")
