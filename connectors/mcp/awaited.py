"""Answers that all come on one stream, told apart by their ids."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from connectors.mcp.ears import Ears
from connectors.mcp.wire import Ear, RpcError, number_of, result_of
from gateway.connector import ConnectorFault, TimedOut

__all__ = ["Awaited"]

_LEAST_WAIT_S: Final = 0.005
_Sized = tuple[Mapping[str, Any], int]
"""A message, and how many bytes it took."""


class Awaited:
    """The requests that wait for an answer. `ears` are those of the same stream; `abandoned` is told of who gave up."""

    def __init__(self, ears: Ears, abandoned: Callable[[int], None]) -> None:
        self._ears = ears
        self._abandoned = abandoned
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[_Sized]] = {}

    def begin(self) -> int:
        """Return the number of a new request, whose answer counts from now on. `result` or `forget` must follow."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return number

    def unawaited(self) -> int:
        """Return the number of a request whose answer nobody waits for."""
        return next(self._numbers)

    def forget(self, number: int) -> None:
        """Wait for that answer no longer."""
        self._waiting.pop(number, None)

    async def result(self, number: int, timeout_s: float, ear: Ear | None) -> Any:
        """Return the `result` of a request; `ear` hears meanwhile what is said for it.

        Raises:
            RpcError: the answer is an error.
            ConnectorFault: there is none, or none in time.
        """
        try:
            message, size = await self._answer(number, timeout_s, ear)
        except TimeoutError:
            self._abandoned(number)
            raise TimedOut("The server did not answer in time.") from None
        except asyncio.CancelledError:
            self._abandoned(number)
            raise
        finally:
            self.forget(number)
        if ear is not None:
            ear.weigh(size)
        return result_of(message)

    def answered(self, message: Mapping[str, Any], size: int) -> bool:
        """Take a response; tell whether a request waited for it."""
        number = number_of(message.get("id"))
        answer = None if number is None else self._waiting.pop(number, None)
        if answer is None or answer.done():
            return False
        answer.set_result((message, size))
        return True

    def fail(self, number: int, fault: RpcError | ConnectorFault) -> None:
        """End one request, if it waits."""
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_exception(fault)

    def fail_all(self, fault: ConnectorFault) -> None:
        """End every request."""
        for number in list(self._waiting):
            self.fail(number, fault.reworded(fault.message, fault.detail))

    async def _answer(self, number: int, timeout_s: float, ear: Ear | None) -> _Sized:
        if ear is not None and ear.listens:
            return await self._heard(number, timeout_s, ear)
        async with asyncio.timeout(timeout_s):
            return await self._waiting[number]

    async def _heard(self, number: int, timeout_s: float, ear: Ear) -> _Sized:
        answer, loop = self._waiting[number], asyncio.get_running_loop()
        ends = loop.time() + timeout_s - ear.stood_still()
        self._ears.enter(number, ear)
        try:
            while not answer.done():
                left = ends + ear.stood_still() - loop.time()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({answer}, timeout=max(left, _LEAST_WAIT_S))
        finally:
            self._ears.leave(number)
        return answer.result()
