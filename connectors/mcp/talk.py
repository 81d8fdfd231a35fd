"""What a server and the client say to each other while the client's call is under way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from connectors.mcp.deadline import MOST_STILL_S, Deadline
from connectors.mcp.wire import Ear
from gateway.connector import AskRefused, Back, Clock, Hear, Measure, dump

__all__ = ["Talk"]

_PROGRESS: Final = "notifications/progress"
_MOST_AT_ONCE: Final = 16
_MOST_QUESTIONS: Final = 256
_NOT_IN_TIME: Final = "The client did not answer in time"
_REFUSED: Final = -1  # the code of the specification's own example of a request that a user turned down


class Talk(Ear):
    """The way back of one call. The call's clock stands still while the client is asked something."""

    listens = True
    may_ask = True
    """Whether the server may send requests of its own: not in the modern era."""
    _questions = 0
    _deadline: Deadline | None = None

    def __init__(self, back: Back, clock: Clock, timeout_s: float, measure: Measure) -> None:
        self._back = back
        self._clock = clock
        self._ends = clock.monotonic() + timeout_s
        self._measure = measure
        self.still_open: dict[object, asyncio.Task[None]] = {}
        self.wants_progress = back.wants_progress

    @property
    def deadline(self) -> Deadline:
        """Until when the call may take: made where it is asked for, which for most calls it is not."""
        if self._deadline is None:
            self._deadline = Deadline(self._clock, self._ends - self._clock.monotonic())
        return self._deadline

    def weigh(self, received: int, status: int | None = None) -> None:
        measure = self._measure  # as `add` does, which would be one step more for every call
        measure.received = received + (measure.received or 0)
        measure.status = status or measure.status

    def stood_still(self) -> float:
        return 0.0 if self._deadline is None else self._deadline.stood_still()

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        if method.startswith("notifications/") and (self.wants_progress or method != _PROGRESS):
            self._back.notify(method, params)

    async def put(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        """Ask the client and return its answer. `hear` is as in `Back.ask`.

        Raises:
            AskRefused: as `Back.ask` says, or there was no answer in time.
        """
        self._questions += 1
        if self._questions > _MOST_QUESTIONS:
            raise AskRefused(_REFUSED, "This call has asked too many questions")
        self.deadline.pause()
        try:
            async with asyncio.timeout(max(MOST_STILL_S - self.deadline.stood_still(), 0.0)):
                return await self._back.ask(method, params, hear)
        except TimeoutError:
            raise AskRefused(_REFUSED, _NOT_IN_TIME) from None
        finally:
            self.deadline.resume()

    def ask(self, question: Mapping[str, Any], reply: Callable[[bytes], Awaitable[None]]) -> bool:
        identity, method, params = question.get("id"), question.get("method"), question.get("params", {})
        usable = type(identity) in {str, int} and isinstance(method, str) and isinstance(params, dict)
        if not (usable and self.may_ask) or identity in self.still_open or len(self.still_open) >= _MOST_AT_ONCE:
            return False
        task = asyncio.ensure_future(self._answer(question, reply))
        self.still_open[identity] = task
        task.add_done_callback(lambda _: self.still_open.pop(identity, None))
        return True

    def withdraw(self, identity: object) -> bool:
        task = self.still_open.get(identity) if type(identity) in {str, int} else None
        return task is not None and task.cancel()

    def end(self) -> None:
        for task in self.still_open.values():
            task.cancel()

    async def _answer(self, question: Mapping[str, Any], reply: Callable[[bytes], Awaitable[None]]) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": question["id"]}
        params = question.get("params", {})
        steps = _Steps(params.get("_meta"), reply)
        try:
            answer["result"] = await self.put(question["method"], params, steps.hear if steps.wanted else None)
        except AskRefused as refused:
            data = {} if refused.data is None else {"data": refused.data}
            answer["error"] = {"code": refused.code, "message": str(refused), **data}
        except asyncio.CancelledError:
            steps.drop()
            raise
        await steps.told()
        await reply(dump(answer))


class _Steps:
    """A client's progress with one question, told to the server that asked under its own token.

    One step is on its way at a time. Of those that come meanwhile the latest is told, and none after the answer.
    """

    def __init__(self, meta: Any, reply: Callable[[bytes], Awaitable[None]]) -> None:
        self._token = meta.get("progressToken") if isinstance(meta, dict) else None
        self._reply = reply
        self._latest: Mapping[str, Any] | None = None
        self._telling: asyncio.Task[None] | None = None
        self.wanted = type(self._token) in {str, int}

    def hear(self, params: Mapping[str, Any]) -> None:
        self._latest = {**params, "progressToken": self._token}
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell())

    def drop(self) -> None:
        """Tell of nothing more."""
        if self._telling is not None:
            self._telling.cancel()

    async def told(self) -> None:
        """Wait until the last of them is told."""
        if self._telling is not None:
            await self._telling

    async def _tell(self) -> None:
        while (params := self._latest) is not None:
            self._latest = None
            await self._reply(dump({"jsonrpc": "2.0", "method": _PROGRESS, "params": params}))
