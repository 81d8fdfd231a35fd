"""Events told to other systems: as CloudEvents, signed, in order, each until it is taken."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.model.errors import StoreFault
from gateway.pipeline.outbox import Outbox, Place, last_seq
from gateway.pipeline.receivers import EventsSection
from gateway.store.memory import MemoryStore
from gateway.store.ports import Event, EventFilter, EventKind, Record
from tests.approval.test_messenger import KEY, SECRET, Receiver
from tests.fixtures.clock import FakeClock


class FullStore(MemoryStore):
    """A ledger that cannot be read so many times."""

    unread = 0

    async def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        if self.unread:
            self.unread -= 1
            raise StoreFault("locked")
        async for event in super().events(wanted):
            yield event


class Operator(FakeClock):
    """Has a receiver told everything again, the first time that somebody waits."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    async def sleep(self, seconds: float) -> None:
        if not self.slept:
            self._place.write(0)
        await super().sleep(seconds)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiving = Receiver()
    server = await asyncio.start_server(receiving.serve, "127.0.0.1", 0)
    receiving.port = server.sockets[0].getsockname()[1]
    yield receiving
    server.close()
    await server.wait_closed()


@pytest.fixture
def store() -> FullStore:
    return FullStore(FakeClock())


@asynccontextmanager
async def telling(
    store: FullStore, receiver: Receiver, folder: Path, clock: FakeClock | None = None, **said: Any
) -> AsyncIterator[Outbox]:
    section = EventsSection(url=f"http://127.0.0.1:{receiver.port}/e", secret=SECRET, **{"kinds": ["*"], **said})
    outbox = Outbox(store, {"ops": section}, folder, clock or FakeClock(), "urn:toolgate:here")
    running = asyncio.create_task(outbox.watch())
    try:
        yield outbox
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def happens(store: FullStore, *names: str, kind: EventKind = EventKind.CALL_RECORDED) -> None:
    for name in names:
        body = {"what": name, "arguments": {"secret": "value"}}
        await store.record(Record(name, 1_800_000_000_123, "run_1", "payer", "", "crm.get", body, kind))


async def begun(folder: Path) -> None:
    """Wait until the receiver has its place."""
    async with asyncio.timeout(30):
        while Place.of(folder, "ops").read() is None:
            await asyncio.sleep(0.01)


async def told(receiver: Receiver, number: int) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in await receiver.requests(number)]


def calls(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["call"] for event in events]


async def test_what_happens_is_told_as_signed_cloudevents_without_what_calls_were_about(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    await happens(store, "before")
    async with telling(store, receiver, tmp_path):
        await begun(tmp_path)
        await happens(store, "call_1")
        await happens(store, "news", kind=EventKind.ADMIN)
        first, second = await told(receiver, 2)
    [event] = [each async for each in store.events(EventFilter(call_id="call_1"))]
    assert first == {
        "specversion": "1.0",
        "id": event.hash,
        "source": "urn:toolgate:here",
        "type": "io.toolgate.call.recorded",
        "time": "2027-01-15T08:00:00.123Z",
        "subject": "crm.get",
        "partitionkey": "run_1",
        "sequence": "2",
        "datacontenttype": "application/json",
        "data": {"call": "call_1", "run": "run_1", "agent": "payer"},
    }
    assert second["data"]["body"]["what"] == "news"
    headers, body = receiver.got[0]
    signed = f"{event.hash}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()}"
    assert headers["content-type"] == "application/cloudevents+json"


async def test_bodies_are_told_where_that_is_said_and_only_the_kinds_that_are_named(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    async with telling(store, receiver, tmp_path, kinds=["call.*"], bodies=True):
        await begun(tmp_path)
        await happens(store, "news", kind=EventKind.ADMIN)
        await store.record(Record("bare", 1, "", "", "", "", {"arguments": 7}, EventKind.CALL_RECORDED))
        [event] = await told(receiver, 1)
    assert event["data"] == {"call": "bare", "body": {"arguments": 7}}
    assert {"subject", "partitionkey"}.isdisjoint(event)


async def test_a_receiver_that_is_down_is_told_later_all_of_it_in_order(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    Place.of(tmp_path, "ops").write(0)
    await happens(store, "call_1")
    await happens(store, *(f"other_{number}" for number in range(430)), kind=EventKind.ADMIN)
    await happens(store, "call_2", "call_3")
    receiver.statuses = [500, 503, 429, 301]
    async with telling(store, receiver, tmp_path, kinds=["call.*"]) as outbox:
        found = await told(receiver, 7)
        async with asyncio.timeout(30):
            while Place.of(tmp_path, "ops").read() != 433:
                await asyncio.sleep(0.01)
        assert outbox.problems == {}
    assert calls(found) == ["call_1"] * 5 + ["call_2", "call_3"]
    assert {body for _, body in receiver.got[:5]} == {receiver.got[0][1]}  # the same event under the same id


async def test_what_was_told_is_not_told_again_by_the_next_gateway_and_what_was_not_is(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    async with telling(store, receiver, tmp_path):
        await begun(tmp_path)
        await happens(store, "call_1")
        await told(receiver, 1)
        async with asyncio.timeout(30):
            while Place.of(tmp_path, "ops").read() != 1:
                await asyncio.sleep(0.01)
    await happens(store, "call_2")
    async with telling(store, receiver, tmp_path):
        assert calls(await told(receiver, 2)) == ["call_1", "call_2"]


async def test_an_event_that_is_refused_for_what_it_is_does_not_hold_up_the_others_for_ever(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses = [400] * 8
    async with telling(store, receiver, tmp_path):
        await begun(tmp_path)
        await happens(store, "call_1", "call_2")
        assert calls(await told(receiver, 9)) == ["call_1"] * 8 + ["call_2"]


async def test_nobody_there_is_a_problem_that_is_told_and_passes(store: FullStore, tmp_path: Path) -> None:
    nobody = Receiver()
    server = await asyncio.start_server(nobody.serve, "127.0.0.1", 0)
    nobody.port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with telling(store, nobody, tmp_path) as outbox:
        await begun(tmp_path)
        await happens(store, "call_1")
        async with asyncio.timeout(30):
            while outbox.problems != {"ops": "ConnectError"}:
                await asyncio.sleep(0.01)
        server = await asyncio.start_server(nobody.serve, "127.0.0.1", nobody.port)
        assert calls(await told(nobody, 1)) == ["call_1"]
        async with asyncio.timeout(30):
            while outbox.problems:
                await asyncio.sleep(0.01)
        server.close()
        await server.wait_closed()


async def test_a_ledger_that_cannot_be_read_is_read_later(store: FullStore, receiver: Receiver, tmp_path: Path) -> None:
    Place.of(tmp_path, "ops").write(0)
    await happens(store, "call_1")
    store.unread = 2
    async with telling(store, receiver, tmp_path):
        assert calls(await told(receiver, 1)) == ["call_1"]


async def test_a_receiver_is_told_again_from_where_an_operator_says(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    place = Place.of(tmp_path, "ops")
    async with telling(store, receiver, tmp_path):
        await begun(tmp_path)
        await happens(store, "call_1", "call_2")
        await told(receiver, 2)
        async with asyncio.timeout(30):
            while place.read() != 2:
                await asyncio.sleep(0.01)
        place.write(1)
        assert calls(await told(receiver, 3)) == ["call_1", "call_2", "call_2"]


async def test_where_an_operator_says_counts_though_an_event_is_just_being_told(
    store: FullStore, receiver: Receiver, tmp_path: Path
) -> None:
    place = Place.of(tmp_path, "ops")
    place.write(1)
    await happens(store, "call_1", "call_2")
    receiver.statuses = [500]
    async with telling(store, receiver, tmp_path, clock=Operator(place)):
        assert calls(await told(receiver, 4)) == ["call_2", "call_2", "call_1", "call_2"]


async def test_a_new_receiver_of_an_empty_ledger_begins_at_nothing(store: FullStore) -> None:
    assert await last_seq(store) == 0


@pytest.mark.parametrize("wrong", [{"url": "http://example.com/x"}, {"secret": "short"}, {"kinds": []}, {"more": 1}])
def test_a_receiver_that_is_not_safe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EventsSection.model_validate({"url": "https://example.com/x", "secret": SECRET.get_secret_value(), **wrong})
