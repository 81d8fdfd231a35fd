"""Tools over any HTTP API, as the configuration writes them."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.http import HttpConnector
from connectors.http.config import HttpConfig
from gateway.connector import Effect, ToolTraits
from gateway.connector.testing import check_connector
from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.building import asked, build, http_section
from tests.connectors.rest.conftest import Start


def tool(method: str, path: str, *required: str, **more: Any) -> dict[str, Any]:
    """A tool whose arguments are `required` and whatever `optional` adds."""
    optional = more.pop("optional", ())
    properties = {name: {"type": ["string", "integer", "object"]} for name in (*required, *optional)}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"description": "It.", "method": method, "path": path, "effect": "write", "input": schema, **more}


@pytest.mark.parametrize(
    ("said", "arguments", "request_line", "body"),
    [
        (tool("GET", "/a"), {}, "GET /v1/a", b""),
        (tool("GET", "/a/{id}", "id", optional=["q"]), {"id": "x/y", "q": 1}, "GET /v1/a/x%2Fy?q=1", b""),
        (tool("DELETE", "/a", "id"), {"id": 1}, "DELETE /v1/a?id=1", b""),
        (tool("POST", "/a/{id}", "id", "n"), {"id": 1, "n": 2}, "POST /v1/a/1", b'{"n":2}'),
        (tool("PUT", "/a", "n", query={"number": "n"}), {"n": 2}, "PUT /v1/a?number=2", b""),
        (tool("POST", "/a", "n", "m", body={"number": "n"}), {"n": 2, "m": 3}, "POST /v1/a", b'{"number":2,"m":3}'),
        (tool("POST", "/a", "thing", body="thing"), {"thing": {"k": 1}}, "POST /v1/a", b'{"k":1}'),
        (tool("GET", "/a", "thing", body="thing"), {"thing": 1}, "GET /v1/a", b"1"),
        (tool("POST", "/a", body=""), {}, "POST /v1/a", b""),
    ],
)
async def test_arguments_go_where_the_tool_says(
    api: Api, start: Start, *, said: dict[str, Any], arguments: dict[str, Any], request_line: str, body: bytes
) -> None:
    api.on(request_line.partition("?")[0], answer({}))
    await (await start(http_section(api, tools={"it": said}))).call(asked("it", arguments))
    (seen,) = api.seen
    assert (f"{seen.method} {seen.target}", seen.body) == (request_line, body)


async def test_an_argument_can_be_a_header(api: Api, start: Start) -> None:
    api.on("GET /v1/a", answer({}))
    section = http_section(api, tools={"it": tool("GET", "/a", "trace", headers={"X-Trace": "trace"})})
    await (await start(section)).call(asked("it", {"trace": "t1"}))
    assert (api.seen[0].target, api.seen[0].headers["x-trace"]) == ("/v1/a", "t1")


async def test_a_definition_is_what_the_configuration_says(api: Api) -> None:
    said = tool("POST", "/a", "n", effect="irreversible", output={"type": "object"})
    upstream = build(http_section(api, tools={"it": said}, idempotency_header="Idempotency-Key"))
    await upstream.open()
    (definition,) = await upstream.tools()
    assert definition == {
        "name": "it",
        "description": "It.",
        "inputSchema": {"additionalProperties": False, **said["input"]},
        "outputSchema": {"type": "object"},
        "annotations": {
            "title": "POST /a",
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": True,
        },
    }
    assert upstream.traits("it") == ToolTraits(Effect.IRREVERSIBLE, idempotent=True)
    await upstream.close()


async def test_the_same_key_goes_with_every_attempt(api: Api, start: Start) -> None:
    api.on("POST /v1/make", answer({}))
    api.on("GET /v1/find", answer({}))
    upstream = await start(http_section(api, idempotency_header="Idempotency-Key"))
    for key in ("k1", "k1", None):
        await upstream.call(asked("make", idempotency_key=key))
    await upstream.call(asked("find", idempotency_key="k1"))
    assert [seen.headers.get("idempotency-key") for seen in api.seen] == ["k1", "k1", "call_test", None]


@pytest.mark.parametrize(
    "said",
    [
        tool("TRACE", "/a"),
        tool("GET", "a"),
        tool("GET", "/a?b=c"),
        tool("GET", "/a/../b"),
        tool("GET", "/a/{id}"),
        tool("GET", "/a/{id}", optional=["id"]),
        tool("GET", "/a", query={"x": "nothing"}),
        tool("GET", "/a", "x", headers={"Host": "x"}),
        tool("GET", "/a", "x", headers={"Authorization": "x"}),
        tool("GET", "/a", "x", headers={"idempotency-key": "x"}),
        tool("POST", "/a", "x", "y", body="x"),
        tool("GET", "/a", input={"type": "array"}),
        tool("GET", "/a", output={}),
        tool("GET", "/a", effect=None),
        tool("GET", "/a", url="http://x"),
        {"method": "GET", "path": "/a"},
    ],
)
def test_a_tool_that_could_not_be_sent_is_refused(said: dict[str, Any]) -> None:
    section = {
        "base_url": "https://api.example.com",
        "auth": {"type": "bearer", "token": "t0"},
        "idempotency_header": "Idempotency-Key",
    }
    with pytest.raises(ValidationError):
        HttpConfig.model_validate({**section, "tools": {"it": said}})


@pytest.mark.parametrize("tools", [{}, {"a b": tool("GET", "/a")}, None])
def test_a_section_has_tools_with_names(tools: Any) -> None:
    with pytest.raises(ValidationError):
        HttpConfig.model_validate({"base_url": "https://api.example.com", "tools": tools})


async def test_it_keeps_the_contract_of_connectors(api: Api) -> None:
    api.on("GET /v1/find", answer({"n": 1}))
    section = http_section(api, auth={"type": "bearer", "token": "sk-live-0123456789"})
    section["tools"]["find"]["output"] = {"type": "object", "required": ["n"]}
    del section["connector"]
    await check_connector(HttpConnector, section, sample=asked("find"))
