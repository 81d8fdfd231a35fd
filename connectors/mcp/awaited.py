"""Answers that all come on one stream, told apart by their ids."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.ears import Ears
from connectors.mcp.wire import Ear, RpcError
from gateway.connector import ConnectorFault

__all__ = ["Awaited", "Sized"]

_LEAST_WAIT_S: Final = 0.005
Sized = tuple[Mapping[str, Any], int]
"""A message, and how many bytes it took."""


class Awaited:
    """The requests that wait for an answer. `ears` are those of the same stream."""

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Sized]] = {}

    def begin(self) -> int:
        """Return the number of a new request, whose answer counts from now on. `wait` or `forget` must follow."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return number

    def forget(self, number: int) -> None:
        """Wait for that answer no longer."""
        self._waiting.pop(number, None)

    async def wait(self, number: int, timeout_s: float, ear: Ear | None) -> Sized:
        """Return the answer to a request; `ear` hears meanwhile what is said for it.

        Raises:
            TimeoutError: there is none in time.
            RpcError, ConnectorFault: there will be none.
        """
        try:
            if ear is not None and ear.listens:
                return await self._heard(number, timeout_s, ear)
            async with asyncio.timeout(timeout_s):
                return await self._waiting[number]
        finally:
            self.forget(number)

    def answered(self, message: Mapping[str, Any], size: int) -> bool:
        """Take a response; tell whether a request waited for it."""
        number = message.get("id")
        answer = self._waiting.pop(number, None) if type(number) is int else None
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

    async def _heard(self, number: int, timeout_s: float, ear: Ear) -> Sized:
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
