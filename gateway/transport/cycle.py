"""One request that came whole, with a head that was read before: uvicorn's cycle without the price of its parts."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

__all__ = ["Cycle", "Worker"]


class Cycle(RequestResponseCycle):
    """Answers at once where the answer is whole, and as uvicorn does where it is not.

    `on_gone` is called where the client leaves before it is answered. `task` is what answers.
    """

    # What uvicorn's own sets for every request, and few ever change.
    waiting_for_100_continue = False
    more_body = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    access_log = False

    def __init__(self, connection: HttpToolsProtocol, scope: Any, body: bytes, on_response: Callable[[], None]) -> None:
        # Not by way of `super`: this is made for every call.
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = True
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.default_headers = connection.server_state.default_headers
        self.on_response = on_response
        self.body = body  # type: ignore[assignment]  # theirs grows, this one is complete
        self.on_gone: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._bell: asyncio.Event | None = None
        self._taken = False

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]  # theirs is made for every request
        """What is set when there is news for `receive`: at first, that the body is there."""
        if self._bell is None:
            self._bell = asyncio.Event()
            if not self._taken:
                self._bell.set()
        return self._bell

    def lost(self) -> None:
        """The client closed the connection: tell who wants to know."""
        if self.on_gone is not None:
            self.on_gone()

    def take_body(self) -> bytes:
        """Return the body, and leave `receive` to tell only of the client's going."""
        self._taken = True
        return bytes(self.body)

    def answer(self, status: int, lines: bytes, body: bytes) -> bool:
        """Send a whole response now; False where the client reads too slowly for that. `lines` are its header lines."""
        if self.disconnected:
            return True
        if self.flow.write_paused:
            return False
        if not self.keep_alive:
            lines += b"connection: close\r\n"
        self.response_started = self.response_complete = True
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        if self._bell is not None:
            self._bell.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class Worker:
    """Answers requests of one connection, one after another: a task for each takes as long as a stage of the pipeline.

    While it answers it is among `tasks`, which the server waits for before it ends.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], tasks: "set[asyncio.Task[Any]]", first: Cycle) -> None:
        self._app = app
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.Future[Cycle | None] | None = None
        self._retired = False
        self._cycle: Cycle | None = first
        self._task = first.task = self._loop.create_task(self._work(first))
        self._task.add_done_callback(self._ended)
        tasks.add(self._task)

    def takes(self, cycle: Cycle) -> bool:
        """Begin with a request, if the one before is over and done with."""
        rest = self._rest
        if rest is None or rest.done():
            return False
        self._cycle, cycle.task = cycle, self._task
        self._tasks.add(self._task)
        rest.set_result(cycle)
        return True

    def retire(self) -> None:
        """Have it take no more requests."""
        self._retired = True
        if self._cycle is None and self._rest is not None and not self._rest.done():
            self._rest.set_result(None)

    async def _work(self, cycle: Cycle | None) -> None:
        while cycle is not None:
            await self._app(cycle.scope, cycle.receive, cycle.send)
            if not cycle.response_complete:
                await cycle.run_asgi(_nothing)  # uvicorn says so, to the log and to the client
            cycle.on_response = _over  # else it knows its connection, which knows it
            cycle.body = b""  # type: ignore[assignment]  # as above; the connection may rest for long
            if self._retired or self._task.cancelling():
                return
            self._cycle = None
            self._tasks.discard(self._task)
            self._rest = self._loop.create_future()
            cycle = await self._rest

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Have uvicorn tell of a request that ended the task, if one did."""
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        cycle, self._cycle = self._cycle, None
        del self._task  # it knows the error, which knows this
        if cycle is None:
            return
        cycle.task = None
        if error is not None:
            telling = self._loop.create_task(cycle.run_asgi(partial(_raise, error)))
            self._tasks.add(telling)
            telling.add_done_callback(self._tasks.discard)


async def _raise(error: BaseException, *asgi: Any) -> None:
    del asgi
    raise error


async def _nothing(*asgi: Any) -> None:
    del asgi


def _over() -> None:
    """Take no note of the end of a response."""
