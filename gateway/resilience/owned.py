"""Tasks that belong to the gateway, not to whoever waits for them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["OwnedTasks"]

_T = TypeVar("_T")


class OwnedTasks:
    """Runs coroutines to their end, whether or not anybody still waits."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start `work` in a task of its own, which nobody awaits who could be cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Future[_T]":
        """Start `work`; the future gets what it returns or raises. Cancelling who awaits that leaves `work` running.

        As `asyncio.shield`, which takes three times as many instructions.
        """
        loop = asyncio.get_running_loop()
        task, end = loop.create_task(work), loop.create_future()
        self._tasks.add(task)

        def tell(done: "asyncio.Task[_T]") -> None:
            self._tasks.discard(done)
            if done.cancelled():
                end.cancel()
            elif (error := done.exception()) is not None:
                if not end.done():
                    end.set_exception(error)
            elif not end.done():
                end.set_result(done.result())

        task.add_done_callback(tell)
        return end

    async def drain(self, deadline_s: float) -> int:
        """Wait until nothing is left, also nothing that was started meanwhile; cancel what remains after `deadline_s`.

        Returns how many tasks had to be cancelled.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + deadline_s
        while self._tasks and loop.time() < ends:
            await asyncio.wait(set(self._tasks), timeout=ends - loop.time())
        left = set(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)
