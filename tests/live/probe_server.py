"""An MCP server of the standard library only: starts in no time, writes down what it receives, and misbehaves on order.

It runs on the folder PROBE_DIR. `tools.json` there is its list of tools, read at every `tools/list`, and `pid` is its
process. Every `tools/call` goes to `raw.jsonl` as the line it was, before anything else happens. What a tool does is in
its name.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["ECHO", "tool"]

MODERN: Final = "2026-07-28"


def tool(name: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a definition whose arguments are exactly `properties`, or anything where there are none."""
    exact = {} if properties is None else {"properties": properties, "additionalProperties": False}
    return {"name": name, "description": f"The tool {name}.", "inputSchema": {"type": "object", **exact}, **more}


_READ: Final = {"annotations": {"readOnlyHint": True}}
ECHO: Final[list[dict[str, Any]]] = [
    tool("echo", **_READ),
    tool("exact", {"text": {"type": "string"}, "number": {"type": "integer"}}, **_READ),
    tool("act"),
    tool("leak", **_READ),
    tool("fail", **_READ),
    tool("odd"),
    tool("wait"),
    tool("wait_read", **_READ),
    tool("die"),
    tool("die_read", **_READ),
]


def _answer(name: str, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    if name.startswith("wait"):
        while not (folder / "go").exists():
            time.sleep(0.01)
    if name.startswith("die") and not (folder / "immortal").exists():
        (folder / "immortal").touch()
        os._exit(1)
    if name in {"leak", "fail"}:
        text = f"trouble with {os.environ.get('PROBE_SECRET', '')} and {json.dumps(arguments)}"
        return {"content": [{"type": "text", "text": text}], "isError": name == "fail"}
    if name == "say":
        said: dict[str, Any] = arguments["result"]
        return said
    result: dict[str, Any] = {"content": [{"type": "text", "text": "ok"}], "structuredContent": {"got": arguments}}
    if name == "odd":
        result |= {
            "_meta": {"acme.example/trace": [1, {"a": None}], "plain": 12345678901234567890123},
            "x-unknown": {"kept": True, "deep": [{"still": "here"}]},
            "resultType": "complete",
        }
        result["content"][0]["acme"] = 1
    return result


def _result(method: str, params: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    modern = os.environ.get("PROBE_ERA") == "modern"
    if method == "initialize" and not modern:
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "p", "version": "1"},
        }
    if method == "server/discover" and modern:
        return {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}
    if method == "tools/list":
        return {"tools": json.loads((folder / "tools.json").read_text("utf-8")), "resultType": "complete"}
    if method == "tools/call":
        return _answer(params["name"], params.get("arguments") or {}, folder)
    return None


def _serve(line: str, folder: Path, writing: threading.Lock) -> None:
    message = json.loads(line)
    if "id" not in message:
        return
    result = _result(message["method"], message.get("params") or {}, folder)
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    reply |= {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
    with writing:
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _main() -> None:
    folder = Path(os.environ["PROBE_DIR"])
    (folder / "pid").write_text(str(os.getpid()), encoding="utf-8")
    writing = threading.Lock()
    with (folder / "raw.jsonl").open("a", encoding="utf-8") as raw:
        for line in sys.stdin:
            if '"tools/call"' in line:
                raw.write(line)
                raw.flush()
            threading.Thread(target=_serve, args=(line, folder, writing), daemon=True).start()


if __name__ == "__main__":
    _main()
