"""An HTTP server of the standard library that carries every call out as a task, in either era.

`python -m tests.live.tasking.server FOLDER ERA` prints its URL first. It notes in FOLDER/effects.jsonl what it really
did, and in FOLDER/got.jsonl what it was asked; a task named N is over once FOLDER/go-N is there. It outlives whoever
asks, and knows its tasks by ids that nobody else makes.
"""

import json
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.live.running import LEGACY, MODERN

__all__ = ["TASKS"]

TASKS = "io.modelcontextprotocol/tasks"
NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOOL = {"name": "build", "description": "To build.", "inputSchema": NAMED, "execution": {"taskSupport": "optional"}}
ONLY = {**TOOL, "name": "only", "execution": {"taskSupport": "required"}}
CAPABLE = {
    "legacy": {"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}},
    "modern": {"tools": {}, "extensions": {TASKS: {}}},
}


class NoSuchTask(Exception):
    """Nobody began it here."""


class Jobs:
    """The tasks and the notes of them."""

    def __init__(self, folder: Path, era: str) -> None:
        self.folder = folder
        self.era = era
        self.names: dict[str, str] = {}
        self.over: dict[str, str] = {}

    def note(self, *what: Any, file: str = "effects") -> None:
        with (self.folder / f"{file}.jsonl").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(what) + "\n")

    def answer(self, method: str, params: Mapping[str, Any]) -> Any:
        if method in {"initialize", "server/discover"}:
            said = {"capabilities": CAPABLE[self.era], "serverInfo": {"name": "jobs", "version": "1"}}
            return {**said, "protocolVersion": LEGACY, "supportedVersions": [MODERN]}
        if method == "tools/list":
            return {"tools": [TOOL, ONLY]}
        self.note(method, params, file="got")
        if method == "tools/call":
            return self.begin(params)
        task_id = params.get("taskId")
        if task_id not in self.names:
            raise NoSuchTask
        if method == "tasks/cancel":
            self.over.setdefault(task_id, "cancelled")
        state = self.state(task_id)
        if method == "tasks/result":
            return self.result(task_id)
        if self.era == "modern":
            state |= {"result": self.result(task_id)} if state["status"] == "completed" else {}
        return state if method == "tasks/get" or self.era == "legacy" else {}

    def begin(self, params: Mapping[str, Any]) -> Any:
        name = params["arguments"]["name"]
        declared = params.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities", {}).get("extensions", {})
        self.note("started", name)
        if "task" not in params and TASKS not in declared:
            self.note("finished", name)
            return {"content": [{"type": "text", "text": f"built {name}"}]}
        task_id = f"job-{self.era}-{len(self.names) + 1}"
        self.names[task_id] = name
        task = self.state(task_id)
        return {**task, "resultType": "task"} if self.era == "modern" else {"task": task}

    def state(self, task_id: str) -> dict[str, Any]:
        name = self.names[task_id]
        if task_id not in self.over and (self.folder / f"go-{name}").exists():
            self.over[task_id] = "completed"
            self.note("finished", name)
        ttl, interval = ("ttlMs", "pollIntervalMs") if self.era == "modern" else ("ttl", "pollInterval")
        times = dict.fromkeys(("createdAt", "lastUpdatedAt"), "2026-11-25T10:30:00Z")
        return {"taskId": task_id, "status": self.over.get(task_id, "working"), **times, ttl: None, interval: 250}

    def result(self, task_id: str) -> Any:
        about = {"io.modelcontextprotocol/related-task": {"taskId": task_id}}
        return {"content": [{"type": "text", "text": f"built {self.names[task_id]}"}], "_meta": about}


def _door(jobs: Jobs) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            is_modern = self.headers.get("mcp-protocol-version") == MODERN
            if "id" not in message:
                self.say(202, None)
            elif is_modern != (jobs.era == "modern"):
                of_modern = {"code": -32022, "message": "no", "data": {"supported": [MODERN]}}
                self.say(400, {"error": {"code": -32600, "message": "no"} if is_modern else of_modern}, message)
            else:
                try:
                    self.say(200, {"result": jobs.answer(message["method"], message.get("params") or {})}, message)
                except NoSuchTask:
                    self.say(200, {"error": {"code": -32602, "message": "Task not found"}}, message)

        def do_GET(self) -> None:
            self.say(405, None)

        do_DELETE = do_GET

        def say(self, status: int, said: Any, asked: Any = None) -> None:
            body = b"" if said is None else json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Door


def main() -> None:
    """Serve until stopped."""
    jobs = Jobs(Path(sys.argv[1]), sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _door(jobs))
    print(f"http://127.0.0.1:{server.server_address[1]}/mcp", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
