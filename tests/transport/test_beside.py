"""What is served beside `/mcp` is built for the first who asks, once; health needs none of it."""

import asyncio
import threading

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from gateway.transport.beside import Asgi, Beside
from gateway.transport.guard import Guard
from gateway.transport.wire import send_json


class Built:
    """Builds an application that answers everything, once it may; `times` is how often it was asked to."""

    def __init__(self) -> None:
        self.times = 0
        self.fails = False
        self.begun = threading.Event()
        self.may = threading.Event()
        self.may.set()

    def __call__(self) -> Asgi:
        self.times += 1
        self.begun.set()
        assert self.may.wait(30)
        if self.fails:
            raise ImportError("a page is missing")
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, {"path": scope["path"]})


async def _lease(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, 200, {"leased": True})


@pytest.fixture
def built() -> Built:
    return Built()


async def ask(beside: Beside, path: str, method: str = "GET") -> httpx2.Response:
    transport = httpx2.ASGITransport(app=beside)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8750") as http:
        return await http.request(method, path)


@pytest.fixture
def beside(built: Built) -> Beside:
    return Beside(Guard.build("127.0.0.1", 8750), _lease, built)


async def test_health_and_leases_are_answered_while_the_rest_is_being_built(built: Built, beside: Beside) -> None:
    assert [(await ask(beside, "/healthz", method)).status_code for method in ("GET", "HEAD")] == [200, 200]
    assert (await ask(beside, "/-/lease")).json() == {"leased": True}
    assert built.times == 0
    built.may.clear()
    first = asyncio.ensure_future(ask(beside, "/approvals"))
    assert await asyncio.to_thread(built.begun.wait, 30)
    assert (await ask(beside, "/healthz")).json() == {"status": "ok"}
    built.may.set()
    assert (await first).json() == {"path": "/approvals"}


async def test_those_who_ask_first_at_once_get_one_application(built: Built, beside: Beside) -> None:
    paths = [f"/{number}" for number in range(5)]
    answers = await asyncio.gather(*(ask(beside, path) for path in paths))
    assert [answer.json()["path"] for answer in answers] == paths
    assert built.times == 1


async def test_what_could_not_be_built_is_tried_again_for_the_next(built: Built, beside: Beside) -> None:
    built.fails = True
    with pytest.raises(ImportError):
        await ask(beside, "/approvals")
    built.fails = False
    assert (await ask(beside, "/approvals")).status_code == 200


async def test_what_is_not_http_is_not_answered(built: Built, beside: Beside) -> None:
    await beside({"type": "websocket", "path": "/approvals"}, None, None)  # type: ignore[arg-type]
    assert built.times == 0


async def test_health_and_leases_can_only_be_read(beside: Beside) -> None:
    for path in ("/healthz", "/-/lease"):
        refused = await ask(beside, path, "POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await ask(beside, "/healthz/more")).json() == {"path": "/healthz/more"}
