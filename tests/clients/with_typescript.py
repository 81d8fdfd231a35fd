"""Clients on node: the TypeScript SDK in three versions, frameworks, and mcp-remote, which hosts without HTTP start.

`with_typescript.py URL TOKEN`, run by the project's own Python.
"""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from examples.payments.agent import over_stdio
from tests.installing import node, npm_packages

HERE = Path(__file__).parent
RUNS = (*(("with_typescript.mjs", sdk) for sdk in ("1", "1.10", "2")), ("with_frameworks.mjs",))


async def through_remote(proxy: Path, url: str, token: str) -> None:
    """List and call through mcp-remote; raise where something is missing."""
    options = ["--allow-http", "--transport", "http-only", "--header", f"Authorization: Bearer {token}"]
    async with over_stdio(str(node()), [str(proxy), url, *options], mode="legacy") as client:
        assert "fraud_check" in [tool.name for tool in (await client.list_tools()).tools]
        payment = {"payment_id": "c_remote", "payee": "ACME", "amount": 12.5}
        assert "passed" in str(await client.call_tool("fraud_check", payment))
        refused = await client.call_tool("payments_pay", {**payment, "amount": 13.5})
        assert "Call this first" in str(refused), refused


def main(url: str, token: str) -> None:
    """Run every client."""
    modules = npm_packages("typescript", HERE / "typescript_package")
    for name, *more in RUNS:
        script = shutil.copy(HERE / name, modules.parent)  # node looks for packages beside it
        subprocess.run([node(), script, url, token, *more], check=True, timeout=60)
    asyncio.run(through_remote(modules / "mcp-remote" / "dist" / "proxy.js", url, token))


if __name__ == "__main__":
    main(*sys.argv[1:])
