"""A real gateway with one server behind it and one agent that may do everything."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.forwarder import forwarding
from tests.live.running import Running

__all__ = ["AGENT", "SERVER", "configuration", "gateway", "gateway_for_the_suite"]

AGENT = "suite"
SERVER = "everything"
ASKING = [f"{SERVER}.{asks}/*" for asks in ("elicitation", "sampling", "roots")]


def configuration(server_url: str, public_url: str | None = None) -> dict[str, Any]:
    """Return gateway.yaml: the one place that knows how names, identity and permission are configured."""
    listen: dict[str, Any] = {"listen": "127.0.0.1:0", "store": "sqlite:///data/gateway.db"}
    return {
        "version": 1,
        "server": listen | ({"public_url": public_url} if public_url else {}),
        "mcpServers": {SERVER: {"type": "http", "url": server_url}},
        "tools": {f"{SERVER}.*": {"effect": "write"}},
        "agents": {AGENT: {"owner": "conformance", "allow": [f"{SERVER}.*", *ASKING]}},
        "endpoints": {SERVER: {"servers": [SERVER], "names": "bare"}},
    }


@contextmanager
def gateway(server_url: str, public_url: str | None = None) -> Iterator[tuple[Running, str]]:
    """Run `toolgate up` in a folder of its own; yield it and the agent's token."""
    with tempfile.TemporaryDirectory(prefix="toolgate-conformance-") as folder:
        home = Path(folder)
        (home / "gateway.yaml").write_text(json.dumps(configuration(server_url, public_url)), encoding="utf-8")
        running = Running(home).start()
        try:
            yield running, running.token(AGENT)
        finally:
            running.stop()


@contextmanager
def gateway_for_the_suite(server_url: str) -> Iterator[str]:
    """Run a gateway behind a forwarder that identifies the suite; yield the MCP endpoint."""
    with forwarding() as forwarder, gateway(server_url, forwarder.url) as (running, token):
        parts = urlsplit(running.url)
        assert parts.hostname is not None
        assert parts.port is not None
        forwarder.upstream, forwarder.token = (parts.hostname, parts.port), token
        yield f"{forwarder.url}/mcp/{SERVER}"
