"""A server behind a wall sees what it was shown, and nothing else."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.mcp.config import StdioServer
from connectors.mcp.process import Command
from connectors.mcp.sandbox import Sandbox, sandboxed
from tests.connectors.mcp.conftest import FIXTURES, Start, asked, build, fault_of, stdio, text
from tests.connectors.mcp.test_process import gone

NEEDED = [sys.base_prefix, sys.prefix, str(FIXTURES)]
walled = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: no bubblewrap on this machine")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A port of this machine that answers."""
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def snoop(start: Start, folder: Path, port: int, sandbox: Mapping[str, Any] | None) -> Any:
    (folder / "secret").write_text("of another server")
    upstream = await start(stdio("modern", sandbox=sandbox, cwd=str(FIXTURES)))
    tries = {"read": f"{folder}/secret", "write": f"{folder}/new", "connect": ["127.0.0.1", port], "see": os.getpid()}
    return text(await upstream.call(asked("snoop", tries)))


@walled
@pytest.mark.parametrize(
    ("rules", "works"),
    [
        (None, {"read", "write", "connect", "see"}),
        ({}, set()),
        ({"read": ["HERE"]}, {"read"}),
        ({"write": ["HERE"]}, {"read", "write"}),
        ({"network": "host"}, {"connect"}),
    ],
)
async def test_a_server_reads_writes_and_reaches_what_its_sandbox_says(
    rules: dict[str, Any] | None, works: set[str], start: Start, tmp_path: Path, port: int
) -> None:
    here = {**rules} if rules is not None else None
    for kind in ("read", "write"):
        if here and kind in here:
            here[kind] = [str(tmp_path)]
    if here is not None:
        here["read"] = [*here.get("read", []), *NEEDED]

    tried = await snoop(start, tmp_path, port, here)

    assert {name for name, worked in tried.items() if worked} == works
    assert (tmp_path / "new").exists() == ("write" in works)


@walled
async def test_a_server_behind_a_wall_ends_with_all_it_started(start: Start) -> None:
    before = _python_processes()
    upstream = await start(stdio("modern", sandbox={"read": NEEDED}))
    await upstream.call(asked("family"))
    inside = _python_processes() - before
    assert len(inside) >= 3
    await upstream.close()
    assert await gone(*inside)


@walled
async def test_a_server_whose_program_is_not_shown_to_it_does_not_start(tmp_path: Path) -> None:
    upstream = build(stdio("modern", sandbox={"read": [str(tmp_path)]}))
    fault = await fault_of(upstream.open())
    assert fault.code == "unavailable"
    await upstream.close()


async def test_without_bubblewrap_a_server_with_a_sandbox_does_not_start_and_says_what_to_install(
    tmp_path: Path,
) -> None:
    empty = {"PATH": str(tmp_path)}
    command = sandboxed(Command("server", environment=empty), Sandbox())
    assert (command.program, "bubblewrap" in command.hint) == ("bwrap", True)

    old, os.environ["PATH"] = os.environ["PATH"], str(tmp_path)
    try:
        upstream = build(stdio("modern", sandbox={}))
        fault = await fault_of(upstream.open())
    finally:
        os.environ["PATH"] = old
    assert "apt install bubblewrap" in fault.message
    await upstream.close()


@pytest.mark.parametrize("path", ["data", "./data", "a\0b", ""])
def test_a_path_that_depends_on_where_the_gateway_runs_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="begins with /"):
        StdioServer.model_validate({"command": "x", "sandbox": {"read": [path]}})


def test_a_folder_is_shown_before_what_lies_in_it() -> None:
    rules = Sandbox(read=("/data/deep/er", "/data"), write=("/data/deep",))
    words = sandboxed(Command("x", environment={"HOME": "/data/deep/er/home"}), rules).arguments
    shown = [
        word for word, before in zip(words[1:], words, strict=False) if before in {"--ro-bind", "--bind", "--tmpfs"}
    ]
    own = [path for path in shown if path.startswith("/data")]
    assert own == ["/data", "/data/deep", "/data/deep/er", "/data/deep/er/home"]


def _python_processes() -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if any(str(FIXTURES).encode() in word or b"time.sleep(600)" in word for word in words):
            found.add(int(entry.name))
    return found
