"""Event streams: in order, bounded, read again from any event that is kept, by one reader at a time."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message

from gateway.transport.streams import EventStream, Shelf, Streams, request_of, send_stream
from tests.pipeline.gate import settle


def note(number: int, size: int = 0) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "n", "params": {"n": number, "pad": "x" * size}}


class Screen:
    """Where a stream is sent; nothing is taken while it is `closed`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, message: Message) -> None:
        await self.open.wait()
        self.messages.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def numbers(self) -> list[int]:
        lines = [line.removeprefix("data: ") for line in self.text.split("\n") if line.startswith("data: {")]
        return [json.loads(line)["params"]["n"] for line in lines]


def ids_of(text: str) -> list[str]:
    return [line.removeprefix("id: ") for line in text.split("\n") if line.startswith("id: ")]


async def test_what_is_said_arrives_in_order_and_ends_with_the_stream() -> None:
    stream, screen = EventStream(), Screen()
    sending = asyncio.ensure_future(send_stream(screen.send, stream))
    for number in range(3):
        stream.say(note(number))
        await settle()
    stream.say(note(3))
    stream.close()
    stream.close()
    stream.say(note(4))
    await sending
    assert screen.numbers == [0, 1, 2, 3]
    assert (screen.messages[0]["status"], screen.messages[-1].get("more_body", False)) == (200, False)
    assert ids_of(screen.text) == []


async def test_a_stream_that_is_silent_is_kept_alive_by_comments() -> None:
    stream, screen = EventStream(), Screen()
    sending = asyncio.ensure_future(send_stream(screen.send, stream, keep_alive_s=0.001))
    while screen.text.count(": \n\n") < 2:
        await asyncio.sleep(0.001)
    stream.close()
    await sending
    assert screen.numbers == []


async def test_a_slow_reader_loses_notifications_but_no_result() -> None:
    stream, screen = EventStream(), Screen()
    screen.open.clear()
    sending = asyncio.ensure_future(send_stream(screen.send, stream))
    for number in range(3000):
        stream.say(note(number), droppable=True)
    stream.say(note(7777))
    stream.close()
    assert stream.size < 200_000
    screen.open.set()
    await sending
    assert screen.numbers == [*range(1000), 7777]


async def test_large_notifications_are_dropped_beyond_four_mebibytes() -> None:
    stream = EventStream()
    for number in range(100):
        stream.say(note(number, size=100_000), droppable=True)
    assert stream.size < 4_500_000


async def test_a_reader_that_comes_back_gets_what_it_missed_once() -> None:
    streams = Streams(Shelf())
    stream, first, second = streams.open(1), Screen(), Screen()
    sending = asyncio.ensure_future(send_stream(first.send, stream))
    stream.say(note(0))
    stream.say(note(1))
    await settle()
    sending.cancel()
    stream.say(note(2))
    found = streams.find(ids_of(first.text)[0])
    assert found is not None
    stream.say(note(3))
    stream.close()
    await send_stream(second.send, *found)
    assert second.numbers == [1, 2, 3]


async def test_a_second_reader_takes_over() -> None:
    stream, first, second = Streams(Shelf()).open(), Screen(), Screen()
    one = asyncio.ensure_future(send_stream(first.send, stream))
    await settle()
    two = asyncio.ensure_future(send_stream(second.send, stream, stream.unread))
    await one
    stream.say(note(0))
    await settle()
    stream.close()
    await two
    assert (first.numbers, second.numbers) == ([], [0])


async def test_whoever_reads_to_the_end_is_noted_once() -> None:
    stream, noted = Streams(Shelf()).open(1), list[str]()

    async def read() -> None:
        noted.append("read")

    stream.when_read = read
    stream.say(note(0))
    stream.close()
    for _ in range(2):
        await send_stream(Screen().send, stream)
    assert noted == ["read"]


async def test_of_what_was_read_a_bounded_part_is_kept() -> None:
    streams = Streams(Shelf())
    stream, screen = streams.open(1), Screen()
    sending = asyncio.ensure_future(send_stream(screen.send, stream))
    for number in range(1000):
        stream.say(note(number))
        if number % 100 == 0:
            await settle()
    await settle()
    ids = ids_of(screen.text)
    assert len(ids) == 1000
    assert stream.size < 256 * 150
    again = Screen()
    found = streams.find(ids[0])  # older than what is kept: what is left follows
    assert found is not None
    stream.close()
    await send_stream(again.send, *found)
    await sending
    assert again.numbers == [*range(1000 - 256, 1000)]


async def test_a_large_result_that_was_sent_can_be_read_again() -> None:
    streams = Streams(Shelf())
    stream, screen = streams.open(1), Screen()
    stream.say(note(0))
    stream.say(note(1, size=1_000_000))
    stream.close()
    await send_stream(screen.send, stream)
    found = streams.find(ids_of(screen.text)[0])
    assert found is not None
    again = Screen()
    await send_stream(again.send, *found)
    assert again.numbers == [1]


@pytest.mark.parametrize("event_id", ["", "x", ".", "x.1", "{id}", "{id}.", "{id}.-1", "{id}.1e1", "{id}.99", "{id}.²"])
async def test_an_id_of_no_event_finds_nothing(event_id: str) -> None:
    streams = Streams(Shelf())
    stream = streams.open(1)
    stream.say(note(0))
    assert streams.find(event_id.replace("{id}", stream.id)) is None
    assert streams.find(f"{stream.id}.0") == (stream, 1)


async def test_an_event_of_another_session_is_not_found() -> None:
    shelf = Shelf()
    stream = Streams(shelf).open(1)
    stream.say(note(0))
    assert Streams(shelf).find(f"{stream.id}.0") is None


async def test_only_the_latest_streams_of_a_session_are_kept_and_none_that_is_open() -> None:
    streams = Streams(Shelf(), limit=2)
    opened = [streams.open(number) for number in range(5)]
    for stream in opened:
        stream.say(note(0))
    for stream in opened[1:]:
        stream.close()
    assert [streams.find(f"{stream.id}.0") is not None for stream in opened] == [True, False, False, True, True]


async def test_what_all_sessions_keep_together_is_bounded() -> None:
    shelf = Shelf(limit=5000)
    sessions = [Streams(shelf) for _ in range(10)]
    opened = [streams.open(1) for streams in sessions]
    for stream in opened:
        stream.say(note(0, size=1000))
        stream.close()
    kept = [streams.find(f"{stream.id}.0") is not None for streams, stream in zip(sessions, opened, strict=True)]
    assert kept == [False] * 6 + [True] * 4


async def test_a_closed_session_keeps_nothing() -> None:
    streams = Streams(Shelf())
    one, two = streams.open(1), streams.open()
    one.close()
    streams.close()
    assert (two.closed, streams.find(f"{one.id}.0"), streams.find(f"{two.id}.-1")) == (True, None, None)


@pytest.mark.parametrize("request_id", [1, -7, 2**60, "a", "ä-b_c.d", "", None])
async def test_an_event_id_says_which_request_it_is_about(request_id: str | int | None) -> None:
    stream = Streams(Shelf()).open(request_id)
    assert request_of(f"{stream.id}.0") == (request_id,)


@pytest.mark.parametrize("event_id", ["", "a", "a.0", "a-.0", "a-x.0", "a-e30=.0", "a-dHJ1ZQ==.0", "a-MS41.0"])
def test_an_event_id_of_somebody_else_says_nothing(event_id: str) -> None:
    assert request_of(event_id) is None


async def test_a_very_long_request_id_is_not_repeated_in_every_event() -> None:
    stream = Streams(Shelf()).open("x" * 1000)
    assert (len(stream.id) < 64, request_of(f"{stream.id}.0")) == (True, None)
