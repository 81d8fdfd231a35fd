"""No child outlives its gateway, and none sees what it should not."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connectors.mcp.process import Child, Command, inherited_environment
from tests.connectors.mcp.conftest import FAULT_STDIO, PYTHON, Start, asked, build, stdio

ROOT = Path(__file__).parents[3]


def text(result: Any) -> Any:
    return result["content"][0]["text"]


async def gone(*pids: int) -> bool:
    """Wait until none of the processes runs any more."""
    try:
        async with asyncio.timeout(10):
            while any(runs(pid) for pid in pids):
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # an orphan may wait to be reaped by whoever adopted it


def descendants() -> set[int]:
    """The direct children of this process, whichever thread started them."""
    return {int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


async def test_a_child_sees_only_a_scrubbed_environment_and_its_own(start: Start) -> None:
    os.environ["TOOLGATE_TEST_CANARY"] = "canary"
    try:
        upstream = await start(stdio("modern", env={"OWN": "value"}))
        seen = json.loads(text(await upstream.call(asked("environment"))))
    finally:
        del os.environ["TOOLGATE_TEST_CANARY"]
    seen.pop("LC_CTYPE", None)  # Python sets it in itself
    assert seen.pop("OWN") == "value"
    assert set(seen) <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG"}
    assert seen["PATH"] == os.environ["PATH"]


def test_only_named_variables_are_handed_down() -> None:
    assert inherited_environment({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "HOME": "/h"}) == {
        "PATH": "/bin",
        "HOME": "/h",
    }


async def test_a_child_starts_in_its_own_directory(start: Start, tmp_path: Path) -> None:
    upstream = await start(stdio("modern", cwd=str(tmp_path)))
    [pid] = json.loads(text(await upstream.call(asked("pids"))))
    assert Path(f"/proc/{pid}/cwd").resolve() == tmp_path.resolve()


async def test_closing_ends_a_server_that_ignores_sigterm_and_its_grandchildren() -> None:
    upstream = build(stdio("modern", "ignore-term", stop={"grace_s": 0.1}))
    await upstream.open()
    pids = json.loads(text(await upstream.call(asked("family"))))
    assert len(pids) == 3
    await upstream.close()
    assert await gone(*pids)


async def test_grandchildren_end_with_a_server_that_leaves_politely() -> None:
    upstream = build(stdio("modern"))
    await upstream.open()
    pids = json.loads(text(await upstream.call(asked("family"))))
    await upstream.close()
    assert await gone(*pids)


async def test_a_cancelled_close_still_ends_the_server() -> None:
    upstream = build(stdio("modern", "ignore-term", stop={"grace_s": 0.1}))
    await upstream.open()
    pids = json.loads(text(await upstream.call(asked("pids"))))
    closing = asyncio.ensure_future(upstream.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)
    assert await gone(*pids)


async def test_closing_while_a_server_starts_leaves_none_behind() -> None:
    before = descendants()
    upstream = build(stdio("modern", "mute-probe", stop={"grace_s": 0.1}))
    opening = asyncio.ensure_future(upstream.open())
    while descendants() == before:
        await asyncio.sleep(0)
    await upstream.close()
    with pytest.raises(Exception, match=r"stopped|not running"):
        await opening
    assert await gone(*(descendants() - before))


async def test_an_opening_that_is_given_up_leaves_no_server_behind() -> None:
    before = descendants()
    upstream = build(stdio("modern", "deaf", stop={"grace_s": 0.05}))
    opening = asyncio.ensure_future(upstream.open())
    while descendants() == before:
        await asyncio.sleep(0)
    started = descendants() - before
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await upstream.close()
    assert await gone(*started)


async def test_fifty_openings_and_closings_leak_no_process_and_no_descriptor() -> None:
    upstream = build(stdio("modern"))
    await upstream.open()
    await upstream.close()
    before = (descendants(), len(os.listdir("/proc/self/fd")))
    for _ in range(50):
        await upstream.open()
        await upstream.close()
    after_fds = len(os.listdir("/proc/self/fd"))
    assert await gone(*(descendants() - before[0]))
    assert after_fds <= before[1]


GATEWAY = """
import asyncio, sys
from gateway.connector import ToolCall
from gateway.connector.registry import build_upstream, load_connectors
async def main():
    upstream = build_upstream("x", {"command": sys.argv[2], "args": sys.argv[3:]}, load_connectors())
    await upstream.open()
    result = await upstream.call(ToolCall("family", {}, "c", 20.0))
    print(result["content"][0]["text"], flush=True)
    await asyncio.sleep(600)
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_children_and_grandchildren_die_when_the_gateway_is_killed(how: signal.Signals, loop: str) -> None:
    gateway = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GATEWAY,
        loop,
        *PYTHON,
        FAULT_STDIO,
        "modern",
        "ignore-term",
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert gateway.stdout is not None
    pids = json.loads(await gateway.stdout.readline())
    assert all(runs(pid) for pid in pids)
    gateway.send_signal(how)
    await gateway.wait()
    assert await gone(*pids)


async def test_a_child_never_started_can_be_stopped_and_written_to() -> None:
    child = Child(lambda data: None, lambda data: None, lambda: None)
    child.write(b"x")
    await child.stop()
    assert not child.running
    assert child.unsent == 0


async def test_what_a_child_writes_arrives_and_its_end_is_told_once() -> None:
    output, errors, ended = bytearray(), bytearray(), asyncio.Event()
    child = Child(output.extend, errors.extend, ended.set)
    script = "import sys; sys.stdout.write(sys.stdin.readline()); sys.stderr.write('e')"
    await child.start(Command(PYTHON[0], [*PYTHON[1:], "-c", script]))
    child.write(b"hello\n")
    await ended.wait()
    child.write(b"too late\n")
    await child.stop()
    assert (bytes(output), bytes(errors)) == (b"hello\n", b"e")
