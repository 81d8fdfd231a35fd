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
        """Start `work` in a task of its own. Await it through `asyncio.shield`, or not at all."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what `work` returns. Cancelling the caller leaves `work` running."""
        return await asyncio.shield(self.start(work))

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
