"""An agent is run again over what it was answered: its own process and client, and nothing behind the gateway."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import PromptReference

from examples.payments.agent import Step, over_http, script, try_step
from tests.live.front.offering import got
from tests.live.running import ROOT, Running, payments_gateway

AGENT = """
import asyncio, json, sys
from examples.payments.agent import over_http, script, try_step

async def main(url, token, mode):
    async with over_http(url, token, mode=mode) as client:
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)
        tried = [await try_step(client, step) for step in script("p_1")]
        print(json.dumps([tools, [[one.code, one.text] for one in tried]]))

asyncio.run(main(*sys.argv[1:]))
"""


class Recorded:
    """A gateway with a run on record, and what its agent saw; `record` makes its calls."""

    def __init__(self, gate: Running, record: Callable[[str, str], Coroutine[Any, Any, list[Any]]]) -> None:
        self.gate = gate
        self.token = gate.token("payer")
        self.seen = asyncio.run(record(gate.url, self.token))
        [found] = json.loads(gate.command("runs", "list", "--json").stdout)
        self.run = str(found["run"])

    def books(self) -> dict[str, bytes]:
        """Return the files of the servers behind the gateway, and the calls that it has on record."""
        servers = (self.gate.home / "data" / f"{name}.db" for name in ("fraud", "mail", "payments"))
        kept = {path.name: path.read_bytes() for path in servers}
        kept["calls"] = self.gate.command("trace", "list", "--json").stdout.encode()
        return kept

    def payments(self) -> int:
        """Return how often was paid."""
        with closing(sqlite3.connect(self.gate.home / "data" / "payments.db")) as books:
            return int(books.execute("SELECT count(*) FROM payments").fetchone()[0])

    @contextmanager
    def played(self, *options: str, what: str = "") -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Serve the run; give the address, and what reports when it is stopped."""
        command = [sys.executable, "-m", "gateway", "runs", "serve", what or self.run, "--json", *options]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=self.gate.home, env=self.gate.env, **pipes) as process:
            try:
                for line in process.stderr or ():
                    _, found, url = line.partition("played back at ")
                    if found:
                        yield url.strip(), process
                        break
                else:
                    raise AssertionError("it never served")
            finally:
                process.kill()


async def _paid(url: str, token: str) -> list[Any]:
    """Make ten steps, three of which are refused."""
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": "job"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), cache=None) as client,
    ):
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)
        tried = [await try_step(client, step) for step in script("p_1")]
        return [tools, [[one.code, one.text] for one in tried]]


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Stop what plays a run, and return its report with its exit code."""
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    return {**json.loads(out), "exit": process.returncode}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with payments_gateway(tmp_path_factory.mktemp("recorded")) as gate:
        yield Recorded(gate, _paid)


def test_what_is_played_is_counted_nowhere(recorded: Recorded) -> None:
    config = recorded.gate.home / "gateway.yaml"
    text = config.read_text("utf-8")
    config.write_text(f"{text}metrics: {{ token: a-token-for-scrapers }}\n", "utf-8")
    try:
        with recorded.played() as (url, _):
            scraper = {"Authorization": "Bearer a-token-for-scrapers"}
            assert httpx2.get(url.replace("/mcp", "/metrics"), headers=scraper).status_code == 404
    finally:
        config.write_text(text, "utf-8")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_unchanged_agent_sees_again_what_it_saw_and_nothing_is_called(recorded: Recorded, mode: str) -> None:
    before = recorded.books()
    with recorded.played() as (url, process):
        agent = [sys.executable, "-c", AGENT, url, recorded.token, mode]
        done = subprocess.run(agent, env=recorded.gate.env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == recorded.seen
        report = report_of(process)
    assert (report["as_recorded"], report["exit"], report["matched"]) == (True, 0, 10)
    assert recorded.books() == before
    assert json.loads(recorded.gate.command("replay", recorded.run, "--json").stdout)["calls"] == []


def test_an_agent_that_strays_is_told_how_and_what_it_left_out_is_reported(recorded: Recorded) -> None:
    steps = script("p_1")
    other = Step("pay another", "payments_pay", {**steps[6].arguments, "payee": "Mallory Ltd"}, "refused", "payee")

    async def stray(url: str) -> tuple[Any, Any]:
        async with over_http(url, recorded.token) as client:
            first, strange = await try_step(client, steps[0]), await try_step(client, other)
            return first, strange

    with recorded.played() as (url, process):
        first, strange = asyncio.run(stray(url))
        assert (first.as_expected, strange.as_expected, strange.code) == (True, True, "not_on_record")
        assert "differs: changed payee" in strange.text
        report = report_of(process)
    assert (report["as_recorded"], report["exit"], report["matched"]) == (False, 1, 1)
    assert [one["nearest"]["changed"] for one in report["diverged"]] == [["payee"]]
    assert [one["step"] for one in report["missing"]] == [2, 3, 4, 5, 6, 7, 9, 10]  # 8 was only a repeat


def test_it_takes_who_may_call_the_gateway_and_answers_nobody_with_anothers_calls(recorded: Recorded) -> None:
    clerk = recorded.gate.token("clerk")

    async def ask(url: str, token: str) -> Any:
        async with over_http(url, token) as client:
            return await try_step(client, script("p_1")[0])

    with recorded.played() as (url, process):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        reply = httpx2.post(url, json=body, headers={"Authorization": "Bearer tg_nobody"}, timeout=30)
        assert reply.status_code == 401
        tried = asyncio.run(ask(url, clerk))
        assert (tried.code, "No call of clerk is: it was made by payer." in tried.text) == ("not_on_record", True)
        assert report_of(process)["matched"] == 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_host_over_stdio_sees_again_what_was_seen(recorded: Recorded, mode: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    arguments = ["-m", "gateway", "runs", "serve", recorded.run, "--stdio", "payer", "--report", str(file)]
    gate = recorded.gate
    host = StdioServerParameters(command=sys.executable, args=arguments, env=gate.env, cwd=gate.home)

    @asynccontextmanager
    async def talking() -> AsyncIterator[Client]:
        async with Client(stdio_client(host), mode=mode, cache=None) as client:
            yield client

    async def talk() -> list[list[str]]:
        async with talking() as client:
            tried = [await try_step(client, step) for step in script("p_1")]
            return [[one.code, one.text] for one in tried]

    assert asyncio.run(talk()) == recorded.seen[1]
    assert json.loads(file.read_text())["as_recorded"]


def test_a_fork_answers_its_beginning_and_carries_out_the_rest(recorded: Recorded) -> None:
    gate = recorded.gate
    before = recorded.payments()
    fork = json.loads(gate.command("runs", "fork", recorded.run, "--at", "6", "--json").stdout)
    assert [one["tool"] for one in fork["done_there"]] == ["payments.pay"]
    headers = {"Authorization": f"Bearer {recorded.token}", "Toolgate-Run": fork["run"]}
    first, new = script("p_1"), script("p_2")

    async def go_on() -> list[Any]:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"{gate.url}/mcp", http_client=http), cache=None) as client,
        ):
            return [await try_step(client, step) for step in (first[0], first[4], first[6], first[8], new[4], new[6])]

    tried = asyncio.run(go_on())
    codes = [one.code for one in tried]
    assert codes == ["", "", "", "denied", "", ""]  # what paid there pays nothing here
    assert [one.replayed for one in tried] == [True, True, True, False, False, False]
    assert [one.text for one in tried[:3]] == [recorded.seen[1][n][1] for n in (0, 4, 6)]
    assert recorded.payments() == before + 1  # p_1 has a key: it was paid there, and once
    assert gate.command("verify").returncode == 0
    assert json.loads(gate.command("replay", fork["run"], "--json").stdout)["counts"]["differs"] == 0


def test_a_file_is_played_as_the_run_it_was_made_of(recorded: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    recorded.gate.command("runs", "pause", recorded.run)
    recorded.gate.command("runs", "export", recorded.run, "-o", str(file))

    async def ask(url: str) -> Any:
        async with over_http(url, recorded.token) as client:
            return [await try_step(client, step) for step in script("p_1")]

    with recorded.played(what=str(file)) as (url, process):
        assert [[one.code, one.text] for one in asyncio.run(ask(url))] == recorded.seen[1]
        assert report_of(process)["as_recorded"]
    file.write_bytes(file.read_bytes().replace(b"r_1", b"r_2"))
    forged = recorded.gate.command("runs", "serve", str(file), check=False)
    assert (forged.returncode, "no_proof: line" in forged.stderr) == (1, True)


OFFERING = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  probe:
    command: "{python}"
    args: ["{root}/tests/live/front/offering.py"]
    env: {{ PROBE_DIR: "{folder}", PYTHONPATH: "{root}" }}
agents:
  payer: {{ auth: {{ token: true }}, allow: ["probe.*"] }}
"""


async def _looked(url: str, token: str, mode: str = "auto") -> list[Any]:
    """Read, get and complete as an agent would that finds out what there is; return what it saw."""
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": "looking"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, cache=None) as client,
    ):
        document = (await client.list_resources()).resources[0].uri
        read = await client.read_resource(document)
        prompt = (await client.list_prompts()).prompts[0].name
        answered = await client.get_prompt(prompt)
        done = await client.complete(PromptReference(type="ref/prompt", name=prompt), {"name": "a", "value": "b"})
        return [read.contents[0].model_dump(), answered.messages[0].model_dump(), done.completion.values]


def test_what_an_agent_read_got_and_completed_is_played_in_both_eras(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        OFFERING.format(python=sys.executable, root=ROOT, folder=tmp_path), encoding="utf-8"
    )
    gate = Running(tmp_path).start()
    try:
        tape = Recorded(gate, _looked)
        reached = len(got(tmp_path))
        for mode in ("auto", "legacy"):
            with tape.played() as (url, process):
                assert asyncio.run(_looked(url.removesuffix("/mcp"), tape.token, mode)) == tape.seen
                report = report_of(process)
            assert (report["as_recorded"], report["matched"], report["left_out"]) == (True, 3, {})
        assert len(got(tmp_path)) == reached
    finally:
        gate.stop()
