"""One MCP client in one era: asks, is told, is asked. Everything it heard stays as it came."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.live.running import LEGACY, MODERN

if TYPE_CHECKING:
    from tests.live.speaking.wires import Wire

__all__ = ["ABLE", "ANSWERS", "Pending", "Speaker"]

PATIENCE_S = 30.0
ENVELOPE = "io.modelcontextprotocol/"
INFO = {"name": "speaker", "version": "1"}
ABLE: Mapping[str, Any] = {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
"""The capabilities of a client that can be asked everything."""

ANSWERS: Mapping[str, Any] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "response": "yes", "ok": True}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Bonjour"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///tmp", "name": "tmp"}]},
}
"""What a speaker answers unless `answer` says otherwise."""


class Pending:
    """A request that was sent."""

    def __init__(self, speaker: "Speaker", request_id: Any, answer: "asyncio.Future[dict[str, Any]]") -> None:
        self._speaker = speaker
        self.id = request_id
        self.answer = answer

    async def wait(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Return the answer: an object with `result` or `error`. Raises where the connection broke off."""
        async with asyncio.timeout(patience_s):
            return await asyncio.shield(self.answer)

    async def cancel(self) -> None:
        """Call it off, the way of the era and the transport."""
        await self._speaker.cancel(self.id)


class Speaker:
    """`heard` are the notifications, `asked` the questions of the server, both in the order they came."""

    def __init__(self, wire: "Wire", *, modern: bool, capabilities: Mapping[str, Any]) -> None:
        self.wire = wire
        self.modern = modern
        self.capabilities = capabilities
        self.log_level = ""
        self.heard: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda question: ANSWERS[question["method"]]
        """Makes the result a question is answered with; one that returns a future answers later."""
        self.welcome: dict[str, Any] = {}
        self._ids = count(1)
        self._answers: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        wire.take, wire.lost = self._take, self._lost

    async def connect(self) -> None:
        """Do what a client does first; `welcome` is what the server said of itself."""
        if self.modern:
            self.welcome = (await self.ask("server/discover"))["result"]
            return
        about = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": INFO}
        self.welcome = (await self.ask("initialize", about))["result"]
        await self.tell("notifications/initialized")
        self.wire.begin()

    async def close(self) -> None:
        """Stop answering."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def begin(self, method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> Pending:
        """Send a request; keywords go into `_meta`."""
        request_id = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # one nobody waits for is no fault
        self._answers[request_id] = future
        await self.wire.send({"jsonrpc": "2.0", "id": request_id, "method": method, **self._dressed(params, meta)})
        return Pending(self, request_id, future)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        """Send a request and return its answer, having answered what the server asked instead (2026-07-28)."""
        given = dict(params or {})
        while True:
            answer = await (await self.begin(method, given, **meta)).wait()
            if answer.get("result", {}).get("resultType") != "input_required":
                return answer
            given |= await self.replies(answer["result"])

    async def replies(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the params with which a request that needs input is repeated."""
        responses = {}
        for name, question in result.get("inputRequests", {}).items():
            self.asked.append(question)
            responses[name] = self.answer(question)
        state = {"requestState": result["requestState"]} if "requestState" in result else {}
        return {"inputResponses": responses, **state}

    async def tell(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        await self.wire.send({"jsonrpc": "2.0", "method": method, **self._dressed(params, {})})

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
        """Call a tool."""
        return await self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})}, **meta)

    async def every(self, method: str, name: str) -> list[dict[str, Any]]:
        """Return a whole list, page by page; an empty one where the server has no such method."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            answer = await self.ask(method, cursor)
            if answer.get("error", {}).get("code") == -32601:
                return found
            found += answer["result"][name]
            if "nextCursor" not in answer["result"]:
                return found
            cursor = {"cursor": answer["result"]["nextCursor"]}

    async def cancel(self, request_id: Any) -> None:
        """Call a request off: over HTTP in 2026-07-28 by closing its stream, else by a notification."""
        if not self.wire.hang_up(request_id) if self.modern else True:
            await self.tell("notifications/cancelled", {"requestId": request_id})

    def of(self, method: str) -> list[dict[str, Any]]:
        """Return the params of every notification of that method."""
        return [each.get("params", {}) for each in self.heard if each["method"] == f"notifications/{method}"]

    async def until(self, holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Wait until something holds that only a message can bring about."""
        async with asyncio.timeout(patience_s):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def _dressed(self, params: Mapping[str, Any] | None, meta: Mapping[str, Any]) -> dict[str, Any]:
        said = dict(params or {})
        own = dict(meta)
        if self.modern:
            own[f"{ENVELOPE}protocolVersion"] = MODERN
            own[f"{ENVELOPE}clientCapabilities"] = self.capabilities
            own[f"{ENVELOPE}clientInfo"] = INFO
            if self.log_level:
                own[f"{ENVELOPE}logLevel"] = self.log_level
        if own:
            said["_meta"] = {**said.get("_meta", {}), **own}
        return {"params": said} if said else {}

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message and "id" in message:
            self.asked.append({name: message[name] for name in ("method", "params") if name in message})
            task = asyncio.ensure_future(self._reply(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif "method" in message:
            self.heard.append(message)
        else:
            answer = self._answers.pop(message.get("id"), None)
            if answer is not None and not answer.done():
                answer.set_result({name: message[name] for name in ("result", "error") if name in message})
        self._news.set()

    async def _reply(self, question: dict[str, Any]) -> None:
        found = self.answer(question)
        result = await found if asyncio.isfuture(found) else found
        await self.wire.send({"jsonrpc": "2.0", "id": question["id"], "result": result})

    def _lost(self, request_id: Any, error: BaseException) -> None:
        lost = [request_id] if request_id is not None else list(self._answers)
        for each in lost:
            answer = self._answers.pop(each, None)
            if answer is not None and not answer.done():
                answer.set_exception(error)
        self._news.set()
