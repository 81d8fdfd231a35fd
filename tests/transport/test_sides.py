"""What is served beside `/mcp`."""

import asyncio

import pytest
from starlette.types import Message

from gateway.transport.leases import Leases, Lessor
from tests.transport.front import KEYS, METADATA, OPERATOR, Front, bearer


async def test_health_says_only_that_the_process_answers() -> None:
    response = await Front().send("GET", "/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/-/status", "/nowhere"])
async def test_every_path_is_guarded(path: str) -> None:
    response = await Front().send("GET", path, headers={"host": "evil.example"})
    assert (response.status_code, "error" in response.json()) == (421, True)


@pytest.mark.parametrize("path", ["/", "/sse", "/mcp/a/b"])
async def test_whoever_asks_where_nothing_is_learns_where_mcp_is(path: str) -> None:
    told = await Front().send("POST", path, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (told.status_code, "served over Streamable HTTP at /mcp" in told.json()["error"]) == (404, True)


async def test_anybody_finds_the_key_with_which_what_the_gateway_states_is_checked() -> None:
    response = await Front().send("GET", "/.well-known/jwks.json")
    assert (response.json(), response.headers["content-type"]) == (KEYS, "application/jwk-set+json")


@pytest.mark.parametrize("suffix", ["", "/mcp"])
async def test_oauth_clients_find_where_to_get_a_token(suffix: str) -> None:
    path = f"/.well-known/oauth-protected-resource{suffix}"
    assert (await Front().send("GET", path)).json() == METADATA
    assert (await Front(metadata=None).send("GET", path)).status_code == 404


async def test_a_client_that_tries_to_register_where_nobody_logs_in_is_told_to_send_a_token() -> None:
    told = await Front(metadata=None).send("POST", "/register", json={"redirect_uris": ["http://127.0.0.1/cb"]})
    assert (told.status_code, told.json()["error"]) == (400, "invalid_request")
    assert "toolgate token new <agent>" in told.json()["error_description"]
    assert (await Front().send("POST", "/register", json={})).status_code == 404


@pytest.mark.parametrize(
    ("authorization", "peer", "status"),
    [
        (f"Bearer {OPERATOR}", "127.0.0.1", 200),
        (f"Bearer {OPERATOR}", "192.0.2.1", 401),
        ("Bearer wrong", "127.0.0.1", 401),
        (bearer(), "127.0.0.1", 401),
        ("", "127.0.0.1", 401),
    ],
)
async def test_the_status_is_for_this_machines_operator_only(authorization: str, peer: str, status: int) -> None:
    response = await Front().send("GET", "/-/status", peer=peer, headers={"authorization": authorization})
    assert (response.status_code, "servers" in response.json()) == (status, status == 200)


async def test_a_stranger_holds_no_lease() -> None:
    front = Front()
    response = await front.send("GET", "/-/lease", headers={"authorization": "Bearer x"})
    assert (response.status_code, front.leases.left.is_set()) == (401, False)
    assert [event.tool for event in await front.gate.events()] == ["lease"]


LEASE = {
    "type": "http",
    "method": "GET",
    "path": "/-/lease",
    "headers": [(b"host", b"127.0.0.1:8750"), (b"authorization", bearer().encode())],
    "query_string": b"",
    "client": ("127.0.0.1", 1),
}


async def test_a_lease_is_held_for_as_long_as_the_bridge_reads() -> None:
    front = Front()
    started, leaves = asyncio.Event(), asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body"):
            started.set()

    task = asyncio.ensure_future(front.app(LEASE, receive, send))
    await started.wait()
    assert (sent[0]["status"], sent[1]["body"], front.leases.left.is_set()) == (200, b"\n", False)
    leaves.set()
    await task
    assert front.leases.left.is_set()


async def test_a_bridge_hears_that_the_gateway_is_there_again_and_again() -> None:
    front, beats, left = Front(), asyncio.Queue[bytes](), asyncio.Event()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        beats.put_nowait(message.get("body", b"the head"))

    lessor = Lessor(front.leases, front.gate.listing.identify, beat_s=0.001)
    task = asyncio.ensure_future(lessor(LEASE, receive, send))
    assert [await beats.get() for _ in range(4)] == [b"the head", b"\n", b"\n", b"\n"]
    left.set()
    await task


async def test_the_gateway_is_left_when_the_last_bridge_has_gone() -> None:
    leases = Leases()
    with leases.held():
        with leases.held():
            pass
        assert not leases.left.is_set()
    assert leases.left.is_set()
    with leases.held():
        assert not leases.left.is_set()


async def test_only_http_is_spoken() -> None:
    async def unused(message: Message | None = None) -> Message:
        raise AssertionError("nothing is sent or received")

    await Front().app({"type": "lifespan"}, unused, unused)  # type: ignore[arg-type]  # never called
