"""What a ledger says was decided is decided again at the end of a test, and has to come out the same."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.model.clock import SystemClock
from gateway.pipeline.replay import Verdict, replay
from gateway.store.ports import EventFilter, Ledger
from gateway.store.sqlite import SqliteStore

__all__ = ["check_replay", "replay_file"]


async def check_replay(ledger: Ledger) -> Counter[Verdict]:
    """Replay a whole ledger; fail where a decision comes out otherwise, or cannot be made again."""
    counted: Counter[Verdict] = Counter()
    async for one in replay(ledger, EventFilter(limit=2**31 - 1)):
        assert one.verdict in {Verdict.EQUAL, Verdict.REDACTED, Verdict.REMOVED}, (one.why, one.event.body, one.decided)
        counted[one.verdict] += 1
    return counted


def replay_file(path: Path) -> None:
    """Check the replay of a ledger that no gateway has open, if there is one."""
    if path.exists():
        with ThreadPoolExecutor(1) as beside:  # a test may be in an event loop of its own
            beside.submit(asyncio.run, _replay_file(path)).result()


async def _replay_file(path: Path) -> None:
    store = SqliteStore(path, SystemClock())
    await store.open()
    try:
        await check_replay(store)
    finally:
        await store.close()
