"""The MCP Inspector's command line lists and calls: over HTTP and stdio, in each of its protocol eras.

`with_inspector.py URL TOKEN CONFIG`, run by the project's own Python: the Inspector itself is node's.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.installing import node, npm_packages
from tests.live.running import environment

PACKAGE = Path(__file__).parent / "inspector_package"
ERAS = ("legacy", "auto", "modern")
CHECK = ("payment_id=p_9", "payee=ACME", "amount=250.0")


def inspector() -> list[str]:
    """Return the command, installed."""
    modules = npm_packages("inspector", PACKAGE)
    launcher = modules / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
    return [str(node()), str(launcher), "--cli"]


def asked(command: Sequence[str], *options: str) -> Any:
    """Run the Inspector once; return what it printed."""
    with tempfile.TemporaryDirectory(prefix="toolgate-inspector-") as home:
        done = subprocess.run(
            [*command, *options],
            env=environment(HOME=home),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def over_stdio(gateway: Path) -> list[str]:
    """Return the options that have the Inspector start the bridge, as a host's configuration names it."""
    bridge = ["-m", "gateway", "stdio", "--config", str(gateway), "--agent", "payer"]
    servers = {"mcpServers": {"toolgate": {"type": "stdio", "command": sys.executable, "args": bridge}}}
    host = gateway.parent / "host.json"
    host.write_text(json.dumps(servers), encoding="utf-8")
    return ["--config", str(host), "--server", "toolgate"]


def main(url: str, token: str, config: str) -> None:
    """List and call by every way; raise where something is missing."""
    command = inspector()
    ways = {
        "HTTP": [url, "--transport", "http", "--header", f"Authorization: Bearer {token}"],
        "stdio": over_stdio(Path(config)),
    }
    for way, target in ways.items():
        for era in ERAS:
            chosen = [*target, "--protocol-era", era, "--method"]
            tools = asked(command, *chosen, "tools/list")["tools"]
            assert {"fraud_check", "payments_pay"} <= {tool["name"] for tool in tools}, tools
            found = asked(command, *chosen, "tools/call", "--tool-name", "fraud_check", "--tool-arg", *CHECK)
            assert found["structuredContent"]["result"] == "passed", found
            print(f"{way} {era}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
