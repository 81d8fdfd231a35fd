"""A process that claims and finishes until it is killed; every line it prints was acknowledged."""

import asyncio
import sys

from gateway.model.clock import SystemClock
from gateway.store.sqlite import SqliteStore
from tests.store.making import ending, intent


async def work(path: str, name: str, most: int) -> None:
    store = SqliteStore(path, SystemClock())
    await store.open()

    async def one(worker: int) -> None:
        for number in range(most):
            call_id = f"{name}.{worker}.{number}"
            await store.claim(intent(call_id, step_key=call_id))
            print("claimed", call_id, flush=True)
            await store.finish(ending(call_id))
            print("finished", call_id, flush=True)

    await asyncio.gather(*(one(worker) for worker in range(4)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
