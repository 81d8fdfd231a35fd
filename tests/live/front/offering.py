"""An MCP server of the standard library that has everything besides tools.

It notes what it is asked in PROBE_DIR/got.jsonl. A subscription makes it say at once that the resource changed; the
tool `long` gives an answer too large for one piece.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["got"]

CAPABILITIES: Final[dict[str, Any]] = {
    "tools": {}, "prompts": {}, "completions": {}, "logging": {}, "resources": {"subscribe": True}
}  # fmt: skip
RESULTS: Final[dict[str, Any]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": "o", "version": "1"},
    },
    "tools/list": {
        "tools": [
            {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
            for name in ("echo", "long", "hidden")
        ]
    },
    "resources/list": {"resources": [{"uri": uri, "name": uri} for uri in ("doc:///open", "doc:///shut")]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "doc:///t/{id}", "name": "t"}]},
    "prompts/list": {"prompts": [{"name": "open"}, {"name": "shut"}]},
    "prompts/get": {"messages": [{"role": "user", "content": {"type": "text", "text": "said"}}]},
    "completion/complete": {"completion": {"values": ["a"]}},
    "ping": {},
    "logging/setLevel": {},
    "resources/unsubscribe": {},
    "resources/subscribe": {},
}


def got(folder: Path) -> list[dict[str, Any]]:
    """Return the requests that reached the server, those that the gateway makes on its own left out."""
    path = folder / "got.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _replies(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    method, params = message["method"], message.get("params") or {}
    if method == "tools/call":
        text = "x" * 20_000 if params["name"] == "long" else "ok"
        result: dict[str, Any] | None = {"content": [{"type": "text", "text": text}]}
    elif method == "resources/read":
        result = {"contents": [{"uri": params["uri"], "text": "written"}]}
    else:
        result = RESULTS.get(method)
    if result is None:
        yield {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}
        return
    yield {"jsonrpc": "2.0", "id": message["id"], "result": result}
    if method == "resources/subscribe":
        yield {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": params["uri"]}}


def _main() -> None:
    with (Path(os.environ["PROBE_DIR"]) / "got.jsonl").open("a", encoding="utf-8") as notes:
        for line in sys.stdin:
            message = json.loads(line)
            if "id" not in message:
                continue
            if message["method"] not in RESULTS or message["method"] in _GOVERNED:
                notes.write(line)
                notes.flush()
            for reply in _replies(message):
                sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()


_GOVERNED: Final = frozenset({"prompts/get", "completion/complete", "resources/subscribe"})

if __name__ == "__main__":
    _main()
