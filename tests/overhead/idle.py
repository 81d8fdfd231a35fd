"""Sessions that only listen. As a program: how many bytes each takes, test objects included."""

import asyncio
import gc
import tracemalloc

from tests.pipeline.gate import Gate
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

__all__ = ["idle_sessions"]

IDLE = 1000


async def idle_sessions(front: Front) -> list[Reply]:
    """Open sessions whose own streams are open too."""
    replies = []
    for _ in range(IDLE):
        peer = Peer(front)
        await peer.initialize()
        replies.append(await peer.get().started())
    return replies


async def _main() -> None:
    front = Front(Gate())
    await Peer(front).initialize()
    gc.collect()
    tracemalloc.start()
    replies = await idle_sessions(front)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    front.gate.notices.stop()
    for reply in replies:
        await reply.ended()
    print(taken / IDLE)


if __name__ == "__main__":
    asyncio.run(_main())
