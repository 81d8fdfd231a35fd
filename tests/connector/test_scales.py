"""What a plugin's HTTP client is answered is told to the call that asked."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from gateway.connector import (
    ANSWER,
    Connector,
    ConnectorConfig,
    ConnectorFault,
    Effect,
    Surroundings,
    ToolCall,
    Unavailable,
    Upstream,
    tool,
)
from tests.connectors.rest.api import Api, answer


class PagesConfig(ConnectorConfig):
    base_url: str


class Pages(Connector[PagesConfig]):
    """Asks as often as it is told to."""

    name = "pages"
    failures: ClassVar = {404: ANSWER}

    @tool(effect=Effect.READ)
    async def ask(self, call: ToolCall, paths: list[str]) -> int:
        """Ask for each path in turn."""
        for path in paths:
            (await self.http.get(path)).raise_for_status()
        return len(paths)

    @tool(effect=Effect.READ)
    async def stream(self, call: ToolCall, path: str) -> int:
        """Take one answer in as it comes, and break off."""
        async with self.http.stream("GET", path) as reply:
            await reply.aread()
            raise Unavailable("broken off")

    @tool(effect=Effect.READ)
    async def together(self, call: ToolCall, paths: list[str]) -> int:
        """Ask for all paths at once, each in a task."""
        return len(await asyncio.gather(*map(self.http.get, paths)))

    @tool(effect=Effect.READ)
    async def later(self, call: ToolCall, path: str) -> int:
        """Ask in a task that outlives the call, which the next call waits for."""
        self.lasting = asyncio.create_task(self._once_told(path))
        return 0

    @tool(effect=Effect.READ)
    async def release(self, call: ToolCall) -> int:
        """Let that task ask, and wait for it."""
        self.told.set()
        return await self.lasting

    async def _once_told(self, path: str) -> int:
        await self.told.wait()
        return (await self.http.get(path)).status_code

    async def open(self) -> None:
        self.told = asyncio.Event()


async def opened(api: Api) -> Upstream:
    upstream = Pages.upstream(Pages.configure({"base_url": f"http://127.0.0.1:{api.port}"}, {}), Surroundings())
    await upstream.open()
    return upstream


def asked(name: str, arguments: Mapping[str, Any]) -> ToolCall:
    return ToolCall(name, arguments, "call_1", 5.0)


def told(call: ToolCall) -> tuple[int | None, int | None]:
    return call.measure.status, call.measure.received


async def test_all_that_a_call_was_answered_is_its_own_also_beside_others() -> None:
    async with Api() as api:
        api.on("GET /a", answer(b"x" * 100))
        api.on("GET /b", answer(b"y" * 7, status="202 Accepted"))
        upstream = await opened(api)
        calls = [asked("ask", {"paths": paths}) for paths in (["/a", "/b"], ["/b"], [])]
        await asyncio.gather(*map(upstream.call, calls))
        assert [told(call) for call in calls] == [(202, 107), (202, 7), (None, None)]
        await upstream.close()


@pytest.mark.parametrize(("name", "arguments"), [("ask", {"paths": ["/no"]}), ("stream", {"path": "/no"})])
async def test_a_call_that_fails_was_answered_all_the_same(name: str, arguments: Mapping[str, Any]) -> None:
    async with Api() as api:
        api.on("GET /no", answer(b"nothing", status="404 Not Found"))
        upstream, call = await opened(api), asked(name, arguments)
        with pytest.raises(ConnectorFault):
            await upstream.call(call)
        assert told(call) == (404, 7)
        await upstream.close()


async def test_what_a_call_asks_for_in_tasks_of_its_own_is_told_of_it_also_beside_others() -> None:
    async with Api() as api:
        api.on("GET /a", answer(b"x" * 100))
        api.on("GET /b", answer(b"y" * 7))
        upstream = await opened(api)
        calls = [asked("together", {"paths": paths}) for paths in (["/a", "/b", "/b"], ["/b", "/b"])]
        await asyncio.gather(*map(upstream.call, calls))
        assert [told(call) for call in calls] == [(200, 114), (200, 14)]
        await upstream.close()


async def test_what_is_asked_for_after_its_call_has_ended_is_nobodys() -> None:
    async with Api() as api:
        api.on("GET /a", answer(b"x"))
        upstream, first, second = await opened(api), asked("later", {"path": "/a"}), asked("release", {})
        await upstream.call(first)
        await upstream.call(second)
        assert (told(first), told(second), len(api.seen)) == ((None, None), (None, None), 1)
        await upstream.close()
