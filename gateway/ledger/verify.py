"""What is wrong with a ledger, in words."""

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.ledger.heads import Heads
from gateway.ledger.retention import bodies_removed
from gateway.model.errors import LedgerTampered
from gateway.store.ports import EventFilter, Ledger
from gateway.store.sums import RowsChanged

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination found: how many `events` hold, and how many bodies were `removed` in time.

    Else `seq` is the first event that does not hold, and `words` say why. With `is_sums` everything holds but rows that
    no event tells of.
    """

    intact: bool
    events: int = 0
    removed: int = 0
    seq: int = 0
    words: str = ""
    is_sums: bool = False


async def examine(ledger: Ledger, heads: Heads | None = None) -> Finding:
    """Check every event and row, and what signed heads state; name the first event that does not hold.

    Raises:
        StoreFault: nothing was learnt.
    """
    try:
        events = await ledger.verify()
        if heads is not None:
            await heads.check()
        return Finding(intact=True, events=events, removed=await bodies_removed(ledger))
    except LedgerTampered as broken:
        words = f"{broken.detail}{await _context(ledger, broken.seq)}"
        return Finding(intact=False, seq=broken.seq, words=words, is_sums=isinstance(broken, RowsChanged))


async def _context(ledger: Ledger, seq: int) -> str:
    try:
        found = [event async for event in ledger.events(EventFilter(after_seq=seq - 1, limit=1))]
    except LedgerTampered:  # it cannot even be read as an event
        return ""
    if not found or found[0].seq != seq:
        return ""
    event = found[0]
    when = datetime.fromtimestamp(event.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    about = " of ".join(part for part in (event.kind.value, event.call_id) if part)
    return f" ({about}, agent {event.agent or '-'}, tool {event.tool or '-'}, {when})"
