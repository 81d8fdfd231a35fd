"""An MCP server of the standard library that behaves until the file FOLDER/go is there: `rowdy.py FOLDER HABIT`.

Habits, from then on: `die` at every call; `hang` in every call; `flood` with notifications of every kind; `change` its
list of tools a hundred times a second, and say so each time.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER, HABIT = Path(sys.argv[1]), sys.argv[2]
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True, "listChanged": True}, "logging": {}}
NOISE: list[dict[str, Any]] = [
    {"method": "notifications/tools/list_changed"},
    {"method": "notifications/resources/list_changed"},
    {"method": "notifications/resources/updated", "params": {"uri": "rowdy://a"}},
    {"method": "notifications/message", "params": {"level": "error", "data": "x" * 500}},
    {"method": "notifications/progress", "params": {"progressToken": "nobody's", "progress": 1}},
]
BURST = 200
writing = threading.Lock()
changes = 0


def say(*messages: dict[str, Any]) -> None:
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    with writing:
        sys.stdout.write(lines)
        sys.stdout.flush()


def riot() -> None:
    global changes
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    while HABIT in {"flood", "change"}:
        if HABIT == "flood":
            say(*(NOISE[number % len(NOISE)] for number in range(BURST)))
        else:
            changes += 1
            say(NOISE[0])
        time.sleep(0.01)


def result(method: str) -> dict[str, Any]:
    if method == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {"name": "rowdy"}}
    if method == "tools/list":
        told = [{"name": "act", "description": f"Version {changes}.", "inputSchema": {"type": "object"}}]
        return {"tools": told}
    if method == "resources/list":
        return {"resources": [{"uri": "rowdy://a", "name": "a"}]}
    return {"content": []}


def main() -> None:
    threading.Thread(target=riot, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        rowdy = message.get("method") == "tools/call" and (FOLDER / "go").exists()
        if rowdy and HABIT == "die":
            os._exit(1)
        if not (rowdy and HABIT == "hang"):
            say({"id": message["id"], "result": result(message["method"])})


if __name__ == "__main__":
    main()
