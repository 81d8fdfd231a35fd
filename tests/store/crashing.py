"""A process that claims and finishes, or reads, until it is killed; every line it prints was acknowledged."""

import asyncio
import sys

from gateway.model.clock import SystemClock
from gateway.store.sqlite import SqliteStore
from tests.store.making import ending, intent, record


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


async def read(path: str, name: str, most: int) -> None:
    store = SqliteStore(path, SystemClock())
    await store.open()
    for number in range(most):
        await store.record(record(f"{name}.{number}"))
        print("recorded", f"{name}.{number}", flush=True)
        await asyncio.sleep(0)  # until the next is alone again


if __name__ == "__main__":
    doing = read if sys.argv[4:] == ["read"] else work
    asyncio.run(doing(sys.argv[1], sys.argv[2], int(sys.argv[3])))
