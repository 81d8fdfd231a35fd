"""A client that reads its answers as they come, over connections that may break at any time, without a socket."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Message

from tests.transport.front import ENVELOPE, LEGACY, MODERN, Front, bearer

__all__ = ["Peer", "Reply"]

PATIENCE_S = 10.0
"""A test that waits for what never comes fails after this."""


class Reply:
    """One request under way. What the peer has got is in `status`, `headers` and `body`.

    With `slow`, nothing more is taken from the gateway until that is set.
    """

    def __init__(self, body: bytes) -> None:
        self._to_read = [body]
        self._left = asyncio.Event()
        self._got = asyncio.Event()
        self.slow = asyncio.Event()
        self.slow.set()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.task: asyncio.Task[None]

    async def receive(self) -> Message:
        if self._to_read:
            return {"type": "http.request", "body": self._to_read.pop(), "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.slow.wait()
        assert not self.over, "the gateway sends on after the end of a response"
        if message["type"] == "http.response.start":
            assert self.status == 0, "the gateway begins a response twice"
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.over = not message.get("more_body", False)
        self._got.set()

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    @property
    def events(self) -> list[dict[str, str]]:
        """The events that have come, fields by name; comments are left out."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            lines = [line for line in block.split("\n") if not line.startswith(":")]
            if lines:
                found.append({name: value for name, _, value in (line.partition(": ") for line in lines)})
        return found

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The JSON-RPC messages that have come."""
        if self.headers.get("content-type") == "application/json":
            return [json.loads(self.body)] if self.over else []
        return [json.loads(event["data"]) for event in self.events if event["data"]]

    @property
    def last_id(self) -> str:
        """The id of the latest event."""
        return [event["id"] for event in self.events if "id" in event][-1]

    async def message(self, method: str = "") -> dict[str, Any]:
        """Wait for the first message with this method; for the answer where none is named."""
        while True:
            for found in self.messages:
                if found.get("method", "") == method:
                    return found
            await self._more()

    async def started(self) -> "Reply":
        """Wait until the response has begun."""
        while self.status == 0:
            await self._more()
        return self

    async def ended(self) -> "Reply":
        """Wait until the gateway is done with the request."""
        async with asyncio.timeout(PATIENCE_S):
            await self.task
        return self

    async def _more(self) -> None:
        self._got.clear()
        getting = asyncio.ensure_future(self._got.wait())
        await asyncio.wait({getting, self.task}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            if self.task.done():
                self.task.result()
            raise AssertionError(f"it never came; what came is {self.body!r}")


class Peer:
    """One client of `front`, in either era: `session` is its legacy session, once it is initialized."""

    def __init__(self, front: Front, agent: str = "payer", path: str = "/mcp") -> None:
        self.front = front
        self.agent = agent
        self.path = path
        self.session = ""
        self.version = LEGACY
        self.capabilities: dict[str, Any] = {}
        self._count = 0

    async def initialize(self, version: str = LEGACY, **capabilities: Any) -> dict[str, Any]:
        """Open a legacy session; return what the gateway says of itself."""
        said = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "peer"}}
        reply = await self.legacy("initialize", said).ended()
        self.session, self.version = reply.headers["mcp-session-id"], version
        found: dict[str, Any] = reply.messages[0]["result"]
        return found

    def legacy(self, method: str, params: Mapping[str, Any] | None = None, *, request_id: Any = None) -> Reply:
        """Send a request of the handshake eras."""
        self._count += 1
        message = {"id": self._count if request_id is None else request_id, "method": method}
        return self.post(message | ({"params": params} if params is not None else {}))

    def tell(self, method: str, params: Mapping[str, Any] | None = None) -> Reply:
        """Send a notification."""
        return self.post({"method": method, "params": params or {}})

    def reply(self, request_id: Any, result: Any = None, error: Any = None) -> Reply:
        """Answer a question of the gateway's."""
        return self.post({"id": request_id, **({"error": error} if error is not None else {"result": result})})

    def modern(
        self, method: str, params: Mapping[str, Any] | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> Reply:
        """Send a request of 2026-07-28."""
        self._count += 1
        given = dict(params or {})
        capabilities = {"io.modelcontextprotocol/clientCapabilities": self.capabilities}
        given["_meta"] = {**ENVELOPE, **capabilities, **(meta or {}), **given.get("_meta", {})}
        name = given.get("name", given.get("uri"))
        headers = {"mcp-protocol-version": MODERN, "mcp-method": method, **({"mcp-name": name} if name else {})}
        return self.post({"id": self._count, "method": method, "params": given}, **headers)

    def post(self, message: Mapping[str, Any], **headers: str) -> Reply:
        """Post any message."""
        return self.request("POST", json.dumps({"jsonrpc": "2.0", **message}).encode(), **headers)

    def get(self, last_event_id: str | None = None) -> Reply:
        """Ask for a stream."""
        return self.request("GET", b"", **({"last-event-id": last_event_id} if last_event_id is not None else {}))

    def delete(self) -> Reply:
        """End the session."""
        return self.request("DELETE")

    def request(self, verb: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request as it is."""
        said = {
            "host": "127.0.0.1:8750",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "authorization": bearer(self.agent),
            **({"mcp-session-id": self.session, "mcp-protocol-version": self.version} if self.session else {}),
            **headers,
        }
        lines = [(name.encode(), value.encode()) for name, value in said.items() if value]
        scope = {"type": "http", "method": verb, "path": self.path, "headers": lines, "client": ("127.0.0.1", 1)}
        reply = Reply(body)
        reply.task = asyncio.ensure_future(self._run(scope, reply))
        return reply

    async def _run(self, scope: Any, reply: Reply) -> None:
        await self.front.app(scope, reply.receive, reply.send)
