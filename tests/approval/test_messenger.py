"""A webhook is told that people are asked: signed, again where it was not there, and no call waits for it."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.approval.config import ApprovalsSection, PersonSection, WebhookSection
from gateway.pipeline.approving import Approving, Ground
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate
from tests.pipeline.people import ASK, LEADS, PEOPLE, asked

KEY = b"k" * 32
SECRET = SecretStr(f"whsec_{base64.b64encode(KEY).decode()}")
Request = tuple[dict[str, str], bytes]


class Receiver:
    """A real HTTP server; `statuses` are its next answers, then 204. `got` is what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[Request] = []
        self.port = 0
        self._more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 204
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        self._more.set()

    async def requests(self, number: int) -> list[Request]:
        async with asyncio.timeout(10):
            while len(self.got) < number:
                self._more.clear()
                await self._more.wait()
        return self.got


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiving = Receiver()
    server = await asyncio.start_server(receiving.serve, "127.0.0.1", 0)
    receiving.port = server.sockets[0].getsockname()[1]
    yield receiving
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def telling(gate: Gate, port: int, **more: Any) -> AsyncIterator[Approving]:
    """Run the gate with a webhook until the block ends."""
    webhook = WebhookSection(url=f"http://127.0.0.1:{port}/hook", secret=SECRET)
    ground = Ground(gate.store, gate.rules, gate.clock, gate.ids, gate.redactor.record)
    approving = Approving(ground, ApprovalsSection(wait_s=0, webhook=webhook, **more))
    gate.approving = approving
    gate.stages = gate._stages()
    gate.runner = gate.walking(gate.stages)
    running = asyncio.create_task(approving.watch())
    try:
        yield approving
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def a_gate(**more: Any) -> Gate:
    return Gate(PERMIT_ALL, ASK, LEADS, people=PEOPLE, **more)


async def test_what_people_are_asked_is_told_and_signed(receiver: Receiver) -> None:
    gate = a_gate()
    gate.pages.site.serve_at("127.0.0.1", 1, "https://gate.example/mcp")
    async with telling(gate, receiver.port) as approving:
        approving.found_at(gate.pages.site)
        approval = await asked(gate)
        [(headers, body)] = await receiver.requests(1)
    assert headers["webhook-id"] == approval
    signed = f"{approval}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert (told["type"], told["data"]["id"], told["data"]["arguments"]) == ("approval.asked", approval, PAYMENT)
    assert told["timestamp"].endswith("Z")
    assert told["data"]["url"] == f"https://gate.example/-/approve/{approval}"


async def test_it_is_told_once_however_often_the_call_is_repeated(receiver: Receiver) -> None:
    gate = a_gate()
    async with telling(gate, receiver.port):
        await asked(gate)
        await asked(gate)
        await asked(gate, {**PAYMENT, "amount": 1})
        assert len(await receiver.requests(2)) == 2


@pytest.mark.parametrize("status", [500, 301, 404])
async def test_what_was_not_taken_is_told_again_under_the_same_id(receiver: Receiver, status: int) -> None:
    gate = a_gate()
    receiver.statuses = [status, status]
    async with telling(gate, receiver.port):
        approval = await asked(gate)
        got = await receiver.requests(3)
    assert {headers["webhook-id"] for headers, _ in got} == {approval}


async def test_a_receiver_that_is_not_there_holds_up_nothing_and_is_given_up_at_last() -> None:
    gate = a_gate()
    async with telling(gate, 1) as approving:
        approval = await asked(gate)
        while sum(gate.clock.slept) < 20_000:
            await asyncio.sleep(0)
        await approving.desk.approve("bob", approval)


async def test_an_answer_that_is_late_is_told_as_that_under_an_id_of_its_own(receiver: Receiver) -> None:
    gate = a_gate()
    async with telling(gate, receiver.port, answer_within="1h", expires="300d"):  # hours pass while nothing is done
        approval = await asked(gate)
        headers, body = (await receiver.requests(2))[-1]
    told = json.loads(body)
    assert (headers["webhook-id"], told["type"]) == (f"{approval}.overdue", "approval.overdue")
    assert (told["data"]["id"], told["data"]["overdue"]) == (approval, True)


async def test_what_a_stopped_gateway_left_untold_is_told_by_the_next(receiver: Receiver) -> None:
    gate = a_gate()
    pending, decided = await asked(gate), await asked(gate, {**PAYMENT, "amount": 1})
    await gate.approving.desk.approve("bob", decided)
    async with telling(gate, receiver.port):
        [(headers, _)] = await receiver.requests(1)
    assert headers["webhook-id"] == pending


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hooks.example/x", "secret": SECRET},
        {"url": "https://user:word@hooks.example/x", "secret": SECRET},
        {"url": "https://hooks.example/x", "secret": "whsec_short"},
        {"url": "https://hooks.example/x", "secret": "whsec_***"},
        {"url": "https://hooks.example/x", "secret": base64.b64encode(KEY).decode()},
    ],
)
def test_a_webhook_that_is_not_safe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WebhookSection(**wrong)


def test_a_person_has_roles_and_other_names() -> None:
    assert PersonSection(roles=["leads"], aliases=["bob@acme.example"]).roles == ["leads"]
    with pytest.raises(ValidationError):
        PersonSection(roles=["two words"])
