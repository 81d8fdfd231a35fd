"""A plugin's client takes no failure for an answer; its class says what a status means, or that a tool reads it."""

from typing import Any, ClassVar

import pytest

from gateway.connector import (
    ANSWER,
    Action,
    Connector,
    ConnectorConfig,
    ConnectorFault,
    Effect,
    Surroundings,
    ToolCall,
    Upstream,
    tool,
)
from tests.connectors.rest.api import Api, answer


class PagesConfig(ConnectorConfig):
    base_url: str


class Careless(Connector[PagesConfig]):
    """Never looks whether it was refused, except where it says so."""

    name = "careless"
    failures: ClassVar = {404: ANSWER, 409: "unavailable", "5xx": ANSWER, "503": Action.UNAVAILABLE}

    @tool(effect=Effect.WRITE)
    async def put(self, call: ToolCall, path: str) -> int:
        return (await self.http.put(path)).status_code

    @tool(effect=Effect.READ)
    async def look(self, call: ToolCall, path: str) -> int:
        async with self.http.stream("GET", path) as reply:
            return reply.status_code


async def opened(api: Api) -> Upstream:
    upstream = Careless.upstream(Careless.configure({"base_url": api.url}, {}), Surroundings())
    await upstream.open()
    return upstream


def asked(name: str) -> ToolCall:
    return ToolCall(name, {"path": "/a"}, "call_7", 5.0)


@pytest.mark.parametrize("how", ["put", "look"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("302 Found", "rejected"),
        ("400 Bad Request", "rejected"),
        ("401 Unauthorized", "credential_expired"),
        ("403 Forbidden", "forbidden"),
        ("409 Conflict", "unavailable"),
        ("422 Unprocessable", "rejected"),
        ("429 Too Many Requests", "unavailable"),
        ("503 Service Unavailable", "unavailable"),
    ],
)
async def test_a_failure_that_a_tool_does_not_look_at_is_no_success(how: str, status: str, code: str) -> None:
    async with Api() as api:
        api.on(f"{'PUT' if how == 'put' else 'GET'} /a", answer(b"hunter2", status=status))
        upstream = await opened(api)
        with pytest.raises(ConnectorFault) as caught:
            await upstream.call(asked(how))
        await upstream.close()
        assert (caught.value.code, caught.value.detail) == (code, f"HTTP {status[:3]}")


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "404 Not Found", "500 Internal", "502 Bad Gateway"])
async def test_a_tool_reads_what_it_says_that_it_reads(status: str) -> None:
    async with Api() as api:
        api.on("PUT /a", answer(b"", status=status))
        upstream = await opened(api)
        assert (await upstream.call(asked("put")))["structuredContent"] == {"result": int(status[:3])}
        await upstream.close()


@pytest.mark.parametrize(
    ("failures", "why"),
    [
        ({"404": "ignored"}, "Odd: failures: 404 means 'ignored', which is none of answer, credential_expired"),
        ({"6xx": ANSWER}, "Odd: failures: '6xx' is not a status"),
        ([404], "Odd: failures: "),
    ],
)
def test_a_mapping_of_failures_that_means_nothing_fails_when_its_class_is_made(failures: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        type("Odd", (Connector,), {"name": "odd", "failures": failures})
