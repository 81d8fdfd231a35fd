"""Where a description comes from, and what a call of one of its operations is."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.openapi import OpenApiConfig, OpenApiConnector
from gateway.codec import dump
from gateway.connector import ConnectorFault
from gateway.connector.testing import check_connector
from tests.connectors.openapi.describing import described, op, section
from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.building import asked, build, fault_of
from tests.connectors.rest.conftest import Start

LIST = {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}}}
ID = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
DESCRIPTION = described(
    {
        "/a": {"get": op(responses={"200": LIST}), "post": op(operationId="make")},
        "/a/{id}": {"delete": op(operationId="drop", parameters=ID)},
    }
)
KEY = "sk-live-0123456789"


async def refused(given: dict[str, Any], folder: Path) -> ConnectorFault:
    upstream = build(given, folder=folder)
    with pytest.raises(ConnectorFault) as caught:
        await upstream.open()
    assert await upstream.tools() == []
    await upstream.close()
    return caught.value


async def test_a_file_is_relative_to_the_gateways_folder(api: Api, start: Start, tmp_path: Path) -> None:
    api.on("GET /v1/a", answer([1, 2]))
    api.on("DELETE /v1/a/x%20y", answer(status="204 No Content", kind=None))
    upstream = await start(section(api, tmp_path, DESCRIPTION, "it", "drop"), folder=tmp_path)
    assert (await upstream.call(asked("it")))["structuredContent"] == {"result": [1, 2]}
    await upstream.call(asked("drop", {"id": "x y"}))
    assert (await fault_of(upstream, asked("make"))).code == "rejected"
    assert [f"{seen.method} {seen.target}" for seen in api.seen] == ["GET /v1/a", "DELETE /v1/a/x%20y"]


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (None, "api.json cannot be read: No such file or directory."),
        (b"nonsense", "api.json cannot be used: the description is no object."),
        (b" " * (16 * 1024 * 1024 + 1), "api.json is larger than 16777216 bytes."),
    ],
)
async def test_a_file_that_cannot_be_used_fails_the_load(
    api: Api, tmp_path: Path, write: bytes | None, why: str
) -> None:
    given = section(api, tmp_path, DESCRIPTION)
    (tmp_path / "api.json").unlink()
    if write is not None:
        (tmp_path / "api.json").write_bytes(write)
    assert (await refused(given, tmp_path)).message == f"crm: {why}"


async def test_a_url_is_fetched_once_with_the_apis_own_credentials(api: Api, tmp_path: Path) -> None:
    api.on("GET /docs/api.json", answer(DESCRIPTION))
    auth = {"type": "bearer", "token": KEY}
    upstream = build({**section(api, tmp_path, {}), "spec": f"{api.url}/docs/api.json", "auth": auth})
    for _ in range(2):
        await upstream.open()
        assert [tool["name"] for tool in await upstream.tools()] == ["it"]
        await upstream.close()
    (seen,) = api.seen
    assert seen.headers["authorization"] == f"Bearer {KEY}"


async def test_another_host_than_the_apis_is_shown_no_credentials(api: Api, tmp_path: Path) -> None:
    async with Api() as docs:
        docs.on("GET /api.json", answer(DESCRIPTION))
        auth = {"type": "bearer", "token": KEY}
        upstream = build({**section(api, tmp_path, {}), "spec": f"{docs.url}/api.json", "auth": auth})
        await upstream.open()
        await upstream.close()
        assert "authorization" not in docs.seen[0].headers


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(DESCRIPTION, "404 Not Found"), "unavailable"),
        (answer(status="302 Found", Location="/elsewhere"), "rejected"),
        (answer(dump(DESCRIPTION), Content_Encoding="gzip"), "contract_broken"),
    ],
)
async def test_a_url_that_gives_no_description_fails_the_load(api: Api, tmp_path: Path, reply: Any, code: str) -> None:
    api.on("GET /api.json", reply)
    assert (await refused({**section(api, tmp_path, {}), "spec": f"{api.url}/api.json"}, tmp_path)).code == code


async def test_a_description_at_a_private_address_is_not_fetched_unless_named(api: Api, tmp_path: Path) -> None:
    given = {**section(api, tmp_path, {}), "spec": f"{api.url}/api.json", "egress": {}}
    assert "egress.allow_private" in (await refused(given, tmp_path)).message
    assert api.connections == 0


async def test_what_the_gateway_sends_itself_is_no_argument(api: Api, start: Start, tmp_path: Path) -> None:
    parameters = [
        {"name": "idempotency-key", "in": "header", "required": True, "schema": {"type": "string"}},
        {"name": "key", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "n", "in": "query", "schema": {"type": "integer"}},
    ]
    api.on("POST /v1/a", answer({}))
    given = section(
        api,
        tmp_path,
        described({"/a": {"post": op(parameters=parameters)}}),
        idempotency_header="Idempotency-Key",
        auth={"type": "api_key", "in": "query", "name": "key", "value": KEY},
    )
    upstream = await start(given, folder=tmp_path)
    (definition,) = await upstream.tools()
    assert list(definition["inputSchema"]["properties"]) == ["n"]
    await upstream.call(asked("it", {"n": 1}, idempotency_key="k1"))
    (seen,) = api.seen
    assert (seen.target, seen.headers["idempotency-key"]) == (f"/v1/a?n=1&key={KEY}", "k1")


@pytest.mark.parametrize("wrong", [{"spec": ""}, {"spec": "ftp://x/y"}, {"operations": []}, {"servers": []}])
def test_a_setting_that_cannot_mean_anything_is_refused(wrong: dict[str, Any]) -> None:
    good = {"spec": "api.json", "base_url": "https://api.example.com", "operations": ["it"]}
    assert OpenApiConfig.model_validate(good)
    with pytest.raises(ValidationError):
        OpenApiConfig.model_validate({**good, **wrong})


async def test_it_keeps_the_contract_of_connectors(api: Api, tmp_path: Path) -> None:
    api.on("GET /v1/a", answer([1]))
    given = section(api, tmp_path, DESCRIPTION, auth={"type": "bearer", "token": KEY})
    del given["connector"]
    given["spec"] = str(tmp_path / "api.json")
    await check_connector(OpenApiConnector, given, sample=asked("it"))
