"""`make demo`: the scripted agent against a real gateway and three real servers, over HTTP and over stdio."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcp.client import Client

from examples.payments.agent import Step, Tried, over_http, over_stdio, script, try_step

__all__ = ["main"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_TIMEOUT_S = 30.0


def toolgate(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a toolgate command in the example's folder."""
    command = [sys.executable, "-m", "gateway", *args]
    return subprocess.run(command, cwd=home, env=environment(), capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """Return the environment the gateway and its servers run in."""
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def prepare(home: Path) -> None:
    """Copy the example's configuration to a folder of its own, on a free port."""
    shutil.copytree(HERE / "policies", home / "policies")
    text = (HERE / "gateway.yaml").read_text(encoding="utf-8")
    (home / "gateway.yaml").write_text(text.replace("127.0.0.1:8750", "127.0.0.1:0"), encoding="utf-8")


def start(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start `toolgate up`; return its process and the address agents use."""
    log = (home / "gateway.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "up"], cwd=home, env=environment(), stdout=log, stderr=log
    )
    note = home / ".toolgate" / "run.json"
    give_up = time.monotonic() + START_TIMEOUT_S
    while not note.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit(f"the gateway did not start:\n{(home / 'gateway.log').read_text(encoding='utf-8')}")
        time.sleep(0.05)
    return process, f"{json.loads(note.read_text(encoding='utf-8'))['url']}/mcp"


def show(tried: Tried) -> None:
    """Print one call: what was asked, what became of it, and why."""
    mark = (
        "DENIED  "
        if tried.code == "denied"
        else "REFUSED "
        if tried.code
        else "REPLAYED"
        if tried.replayed
        else "OK      "
    )
    print(f"  {mark} {tried.step.title}: {tried.step.tool} {json.dumps(tried.step.arguments)}")
    print(f"           {tried.text}")
    if not tried.as_expected:
        print(f"           UNEXPECTED: should have been {tried.step.expected} {tried.step.says}")


async def play(client: Client, payment: str) -> bool:
    """Play the script; tell whether every call ended as it must."""
    fine = True
    for step in script(payment):
        tried = await try_step(client, step)
        show(tried)
        fine = fine and tried.as_expected
    return fine


def token_of(home: Path, agent: str) -> str:
    """Make an API token for an agent."""
    return str(json.loads(toolgate(home, "token", "new", agent, "--json").stdout)["token"])


async def look_on(client: Client) -> bool:
    """Let the clerk list its tools and try to pay; tell whether it could not."""
    print(f"  its tools: {', '.join(tool.name for tool in (await client.list_tools()).tools)}")
    wanted = Step("pay", "payments_pay", {"payment_id": "p_19", "payee": "ACME", "amount": 1.0}, "denied", "No policy")
    tried = await try_step(client, wanted)
    show(tried)
    return tried.as_expected


async def agents(home: Path, url: str) -> bool:
    """Let the payer come over HTTP and over stdio, and the clerk, who may only look, over HTTP."""
    print("\nOver Streamable HTTP, agent payer, payment p_17")
    async with over_http(url, token_of(home, "payer")) as client:
        fine = await play(client, "p_17")
    print("\nOver Streamable HTTP, agent clerk")
    async with over_http(url, token_of(home, "clerk")) as client:
        fine = await look_on(client) and fine
    print("\nOver stdio, as a desktop host would, agent payer, payment p_18")
    bridge = ["-m", "gateway", "stdio", "--config", str(home / "gateway.yaml"), "--agent", "payer"]
    async with over_stdio(sys.executable, bridge) as client:
        fine = await play(client, "p_18") and fine
    return fine


def paid(home: Path) -> list[tuple[str, str, float]]:
    """Read what the payments server itself recorded."""
    with sqlite3.connect(home / "data" / "payments.db") as connection:
        return connection.execute("SELECT payment_id, payee, amount FROM payments ORDER BY id").fetchall()


def main() -> int:
    """Run the demo; 0 when everything ended as it must."""
    with tempfile.TemporaryDirectory(prefix="toolgate-demo-") as folder:
        home = Path(folder)
        prepare(home)
        print("Starting the gateway and three MCP servers …", flush=True)
        process, url = start(home)
        try:
            fine = asyncio.run(agents(home, url))
            made = paid(home)
            print(f"\nThe payments server's own file: {made}")
            fine = fine and [row[0] for row in made] == ["p_17", "p_18"]
            for command in (("trace", "list", "--tool", "payments.*"), ("verify",)):
                done = toolgate(home, *command)
                print(f"\n$ toolgate {' '.join(command)}\n{done.stdout}{done.stderr}", end="")
                fine = fine and done.returncode == 0
        finally:
            process.terminate()
            process.wait(30)
    print("\nEvery call ended as it must." if fine else "\nFAILED: see UNEXPECTED above.")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
