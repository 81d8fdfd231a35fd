"""Requests whose head was read before take a short way, on a real socket, and are answered as on the long one."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import ref

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.transport.bounded import BoundedHttp, Familiar, Malformed
from gateway.transport.head import KNOWN
from gateway.transport.wire import ClientGone, read_body, send_json

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MANY = 20
HEAD = b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class App:
    """Answers with what it read and the way it came; `held` until told, for bodies that say so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.ways: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.ways.append("short" if KNOWN in scope else "long")
        try:
            body = await read_body(receive, {}, 1_000_000)
        except ClientGone:
            return
        if body == b"wai":
            gone = asyncio.ensure_future(self._gone(receive))
            await self.go.wait()
            gone.cancel()
        if body == b"asl":  # as whoever is not to be woken before its time
            receive.__self__.on_gone = self.left.set  # type: ignore[attr-defined]
            await self.left.wait()
            return
        if body == b"dies":
            raise asyncio.CancelledError
        if body == b"lost":
            return
        headers = (("x-more", "y"),) if body == b"mor" else ()
        await send_json(send, 200, {"body": body.decode(), "client": scope["client"][0]}, headers)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        del task
        if body == b"aft":
            await self.go.wait()

    async def _gone(self, receive: Receive) -> None:
        assert (await receive())["type"] == "http.disconnect"
        self.left.set()
        self.go.set()


@asynccontextmanager
async def serving(app: App, keep_s: int = 60) -> AsyncIterator[Callable[[], "asyncio.Future[Streams]"]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=keep_s)
    config.load()
    state = ServerState()

    class Http(BoundedHttp):
        familiar = Familiar()
        malformed = Malformed()

    server = await asyncio.get_running_loop().create_server(lambda: Http(config, state, {}), "127.0.0.1", 0)
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        opened.append(writer)
        return reader, writer

    try:
        yield lambda: asyncio.ensure_future(connect())
    finally:
        for writer in opened:
            writer.close()
        server.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return head, await reader.readexactly(int(length.split(b":")[1]))


async def asked(streams: Streams, request: bytes) -> tuple[bytes, bytes]:
    streams[1].write(request)
    return await answer(streams[0])


async def test_the_second_of_two_like_heads_takes_the_short_way_and_is_answered_alike() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        first, second = await asked(streams, HEAD + b"abc"), await asked(streams, HEAD + b"abc")
        assert await asked(await connect(), HEAD + b"xyz") == (first[0], first[1].replace(b"abc", b"xyz"))
    assert first == second
    assert app.ways == ["long", "short", "short"]


async def test_an_answer_with_headers_of_its_own_is_whole_on_either_way() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        assert await asked(streams, HEAD + b"mor") == await asked(streams, HEAD + b"mor")
    assert app.ways == ["long", "short"]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        b"PUT /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\nContent-Length: 3\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 03\r\n\r\n",
        b"\r\nPOST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000 + b"\r\nContent-Length: 3\r\n\r\n",
    ],
    ids=["path", "method", "framing", "length", "an empty line before", "size"],
)
async def test_any_but_the_plainest_head_is_parsed_each_time(head: bytes) -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        for _ in range(3):
            await asked(streams, head + b"abc")
    assert app.ways == ["long"] * 3


async def test_a_known_head_with_less_or_more_behind_it_is_parsed() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"a")
        await asyncio.sleep(0.01)
        assert b'"abc"' in (await asked(streams, b"bc"))[1]
        two = HEAD + b"one" + HEAD + b"two"
        assert b'"one"' in (await asked(streams, two))[1]
        assert b'"two"' in (await answer(streams[0]))[1]
        assert b'"abc"' in (await asked(streams, HEAD + b"abc"))[1]
    assert app.ways == ["long", "long", "long", "long", "short"]


async def test_one_task_answers_what_takes_the_short_way_on_a_connection_one_after_another() -> None:
    app = App()
    async with serving(app) as connect:
        one, other = await connect(), await connect()
        for streams in (one, one, one, other, other):
            await asked(streams, HEAD + b"abc")
    assert app.ways == ["long", *["short"] * 4]
    first, *tasks = app.tasks
    assert tasks == [tasks[0], tasks[0], tasks[2], tasks[2]]
    assert len({first, *tasks}) == 3
    async with asyncio.timeout(10):
        await asyncio.wait([task for task in tasks if task is not None])  # it ends with its connection


async def test_what_is_left_to_do_about_an_answered_request_holds_up_none_that_comes_after_it() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        assert b"aft" in (await asked(streams, HEAD + b"aft"))[1]
        assert b"abc" in (await asked(streams, HEAD + b"abc"))[1]
        assert b"xyz" in (await asked(streams, HEAD + b"xyz"))[1]
        app.go.set()
        async with asyncio.timeout(10):
            await asyncio.wait([task for task in app.tasks[1:2] if task is not None])
        assert b"abc" in (await asked(streams, HEAD + b"abc"))[1]
    assert app.ways == ["long", *["short"] * 4]
    assert app.tasks[1] is not app.tasks[2] is app.tasks[3]


@pytest.mark.parametrize("body", [b"dies", b"lost"])
async def test_a_request_that_is_not_answered_is_told_so_on_the_short_way_too(body: bytes) -> None:
    app, head = App(), HEAD.replace(b" 3", b" 4")
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, head + b"abcd")
        told, said = await asked(streams, head + body)
        assert (told.split()[1], said) == (b"500", b"Internal Server Error")
    assert app.ways == ["long", "short"]


async def test_a_request_that_the_server_calls_off_is_the_last_of_its_task() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"wai")
        task = app.tasks[1]
        assert task is not None
        while len(app.ways) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        assert (await answer(streams[0]))[0].split()[1] == b"500"
        async with asyncio.timeout(10):
            await asyncio.wait([task])


async def test_what_comes_while_a_request_is_under_way_waits_for_its_turn() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"wai")
        await asyncio.sleep(0.01)
        streams[1].write(HEAD + b"abc")
        await asyncio.sleep(0.01)
        app.go.set()
        assert [b"wai" in (await answer(streams[0]))[1], b"abc" in (await answer(streams[0]))[1]] == [True, True]
    assert app.ways == ["long", "short", "long"]


async def test_a_client_that_goes_is_noticed_on_the_short_way_too() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"wai")
        await asyncio.sleep(0.01)
        streams[1].close()
        async with asyncio.timeout(10):
            await app.left.wait()
    assert app.ways == ["long", "short"]


async def test_a_request_on_the_short_way_is_told_of_its_client_going_without_asking() -> None:
    app = App()
    async with serving(app) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"asl")
        while len(app.ways) < 2:
            await asyncio.sleep(0.001)
        streams[1].close()
        async with asyncio.timeout(10):
            await app.left.wait()
    assert app.ways == ["long", "short"]


async def test_an_idle_connection_is_closed_after_its_time_and_one_in_use_is_not() -> None:
    app = App()
    async with serving(app, keep_s=1) as connect:
        streams = await connect()
        await asked(streams, HEAD + b"abc")
        await asked(streams, HEAD + b"abc")
        streams[1].write(HEAD + b"wai")
        await asyncio.sleep(1.2)
        app.go.set()
        assert b"wai" in (await answer(streams[0]))[1]
        async with asyncio.timeout(10):
            assert await streams[0].read() == b""


@pytest.mark.parametrize("more", [b"", b"Expect: nothing\r\n"], ids=["short", "long"])
async def test_a_connection_at_rest_keeps_nothing_of_its_last_request(more: bytes) -> None:
    request = b"POST /mcp HTTP/1.1\r\nHost: x\r\n%bContent-Length: 60000\r\n\r\n%b" % (more, b"b" * 60000)
    async with serving(App()) as connect:
        await asked(await connect(), request)
        tracemalloc.start()
        try:
            for _ in range(MANY):
                await asked(await connect(), request)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < MANY * 30_000


@pytest.mark.parametrize("last", [b"abcd", b"dies"], ids=["at rest", "ended by a request"])
async def test_what_answered_a_connection_goes_with_it_and_waits_for_no_collection(last: bytes) -> None:
    app = App()
    async with serving(app) as connect:
        reader, writer = await connect()
        for said in (b"abcd", b"abcd", last):
            request = HEAD.replace(b": 3", b": %d" % len(said)) + said
            writer.write(request)
            await answer(reader) if said != b"dies" else await reader.read()
        task = ref(app.tasks.pop())
        app.tasks.clear()
        gc.disable()
        try:
            writer.close()
            async with asyncio.timeout(10):
                while task() is not None:
                    await asyncio.sleep(0)
        finally:
            gc.enable()


async def test_a_credential_in_a_known_head_is_of_no_use_in_another() -> None:
    familiar = Familiar()
    scope = {"headers": [(b"authorization", b"Bearer abc"), (b"content-length", b"3")]}
    head = b"POST /mcp HTTP/1.1\r\nAuthorization: Bearer abc\r\nContent-Length: 3\r\n\r\n"
    familiar.learn(head + b"abc", scope)
    assert familiar.find(head) is not None
    assert familiar.find(head.replace(b"abc", b"abd")) is None


def test_no_more_heads_are_remembered_than_there_is_room_for() -> None:
    familiar = Familiar()
    heads = [b"POST /mcp HTTP/1.1\r\nX: %d\r\nContent-Length: 3\r\n\r\n" % n for n in range(600)]
    for head in heads:
        familiar.learn(head + b"abc", {"headers": [(b"content-length", b"3")]})
    assert sum(familiar.find(head) is not None for head in heads) <= 512
    assert familiar.find(heads[-1]) is not None
