"""What a ledger says was decided is decided again at the end of a test, and has to come out the same."""

from collections import Counter

from gateway.pipeline.replay import Verdict, replay
from gateway.store.ports import EventFilter, Ledger

__all__ = ["check_replay"]


async def check_replay(ledger: Ledger) -> Counter[Verdict]:
    """Replay a whole ledger; fail where a decision comes out otherwise, or cannot be made again."""
    counted: Counter[Verdict] = Counter()
    async for one in replay(ledger, EventFilter(limit=2**31 - 1)):
        assert one.verdict in {Verdict.EQUAL, Verdict.REDACTED, Verdict.REMOVED}, (one.why, one.event.body, one.decided)
        counted[one.verdict] += 1
    return counted
