"""How messages travel: on the pipes of a process, or by POST and event stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx2

from tests.live.running import LEGACY, MODERN
from tests.live.speaking.speaker import Speaker

__all__ = ["HttpWire", "StdioWire", "Wire", "over_http", "over_stdio"]

Message = dict[str, Any]
LONGEST = 16 * 1024 * 1024


class Wire(Protocol):
    """What a speaker sends on. `take` is told of every message that comes, `lost` of a request that gets no answer."""

    take: Callable[[Message], None]
    lost: Callable[[Any, BaseException], None]

    async def send(self, message: Message) -> None: ...

    def hang_up(self, request_id: Any) -> bool:
        """Close what a request's answer comes on; False where there is no such thing."""
        ...

    def begin(self) -> None:
        """The handshake is over."""


class StdioWire:
    """The pipes of a server, or of the bridge."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.take: Callable[[Message], None] = lambda message: None
        self.lost: Callable[[Any, BaseException], None] = lambda request_id, error: None

    async def send(self, message: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    def hang_up(self, request_id: Any) -> bool:
        return False

    def begin(self) -> None:
        """What comes unasked comes on the same pipe."""

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.take(json.loads(line))
        self.lost(None, EOFError("the server closed its output"))


class HttpWire:
    """Streamable HTTP; each message is one POST. `headers` go with each."""

    def __init__(self, http: httpx2.AsyncClient, url: str, *, modern: bool) -> None:
        self._http = http
        self._url = url
        self._modern = modern
        self._under_way: dict[Any, asyncio.Task[None]] = {}
        self.session = ""
        self.listening = asyncio.Event()
        self.statuses: list[int] = []
        self.last_event = ""
        self.take: Callable[[Message], None] = lambda message: None
        self.lost: Callable[[Any, BaseException], None] = lambda request_id, error: None

    async def send(self, message: Message) -> None:
        key = message.get("id") if "method" in message else None
        task = asyncio.ensure_future(self._post(message, key))
        if key is None:
            await task
        else:
            self._under_way[key] = task

    def hang_up(self, request_id: Any) -> bool:
        task = self._under_way.pop(request_id, None)
        if task is not None:
            task.cancel()
        return task is not None and self._modern

    def begin(self) -> None:
        """Open the session's own stream."""
        if not self._modern:
            self._under_way["GET"] = asyncio.ensure_future(self._get())

    async def resume(self, last_event: str) -> None:
        """Go on with the stream that this event was on, for as long as it lasts."""
        headers = {**self._headers({}), "Last-Event-ID": last_event}
        async with self._http.stream("GET", self._url, headers=headers) as reply:
            self.statuses.append(reply.status_code)
            if reply.status_code == 200:
                await self._read(reply, None)

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.session:
            with suppress(httpx2.HTTPError):
                await self._http.delete(self._url, headers=self._headers({}))

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        said = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if self._modern:
            params = message.get("params", {})
            name = params.get("name", params.get("uri"))
            said |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": message.get("method", "")}
            named = message.get("method") in {"tools/call", "prompts/get", "resources/read"} and isinstance(name, str)
            return said | ({"Mcp-Name": name} if named else {})
        return said | ({"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": self.session} if self.session else {})

    async def _post(self, message: Message, key: Any) -> None:
        try:
            async with self._http.stream(
                "POST", self._url, content=json.dumps(message), headers=self._headers(message)
            ) as reply:
                self.statuses.append(reply.status_code)
                self.session = reply.headers.get("mcp-session-id", self.session)
                answered = await self._read(reply, key)
        except httpx2.HTTPError as error:
            self.lost(key, error)
        else:
            if key is not None and not answered:
                self.lost(key, EOFError("the stream ended without the answer"))
        finally:
            if self._under_way.get(key) is asyncio.current_task():
                del self._under_way[key]

    async def _read(self, reply: httpx2.Response, key: Any) -> bool:
        """Take every message of one response; tell whether the answer was among them."""
        answered = False
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            body = await reply.aread()
            messages = [json.loads(body)] if body.strip() else []
            for message in messages:
                if message.get("id") is None:
                    message["id"] = key
                answered |= "method" not in message
                self.take(message)
            return answered
        async for line in reply.aiter_lines():
            if line.startswith("id:"):
                self.last_event = line[3:].strip()
            if line.startswith("data:") and line[5:].strip():
                message = json.loads(line[5:])
                answered |= message.get("id") == key and "method" not in message
                self.take(message)
        return answered

    async def _get(self) -> None:
        with suppress(httpx2.HTTPError):
            async with self._http.stream("GET", self._url, headers=self._headers({})) as reply:
                self.listening.set()
                if reply.status_code == 200:
                    await self._read(reply, None)


@asynccontextmanager
async def over_stdio(
    command: Sequence[str],
    *,
    modern: bool,
    capabilities: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Speaker]:
    """Run a server and speak to it; it is killed at the end if it does not leave when its input closes."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(env) if env is not None else None,
        cwd=cwd,
        limit=LONGEST,
    )
    wire = StdioWire(process)
    speaker = Speaker(wire, modern=modern, capabilities=capabilities or {})
    reading = asyncio.ensure_future(wire.read())
    try:
        await speaker.connect()
        yield speaker
    finally:
        await speaker.close()
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def over_http(
    url: str, *, modern: bool, token: str = "", capabilities: Mapping[str, Any] | None = None
) -> AsyncIterator[Speaker]:
    """Speak to a Streamable HTTP server."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
        wire = HttpWire(http, url, modern=modern)
        speaker = Speaker(wire, modern=modern, capabilities=capabilities or {})
        try:
            await speaker.connect()
            yield speaker
        finally:
            await speaker.close()
            await wire.close()
