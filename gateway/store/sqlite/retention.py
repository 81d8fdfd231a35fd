"""Lets go of bodies, inside one write transaction."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from gateway.codec import dump
from gateway.store.ports import EventKind
from gateway.store.removable import cut
from gateway.store.retention import Removal, Removed
from gateway.store.retention_events import ENDINGS, RETENTION, is_about_approval, is_over, told_removed
from gateway.store.sqlite.approvals import row_of
from gateway.store.sqlite.sharing import let_go, whole
from gateway.store.sqlite.transaction import Transaction

__all__ = ["remove_bodies"]

_NEXT: Final = "SELECT seq, at_ms, kind, call_id FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_CALL: Final = (
    "SELECT claim_seq, doubted_seq, undone_seq, end_seq FROM calls WHERE call_id = ? AND end_seq = ?"
    " AND status NOT IN ('executing', 'unknown')"
)
_APPROVAL: Final = "SELECT seq FROM events WHERE call_id = ? AND kind NOT IN ('call.claimed', 'call.finished')"
_BODY: Final = f"SELECT CAST({whole('events')} AS BLOB), shared FROM events WHERE seq = ? AND hash LIKE '2.%'"  # noqa: S608 - constant names
_CUT: Final = "UPDATE events SET body = ?, shared = NULL WHERE seq = ?"


def remove_bodies(tx: Transaction, removal: Removal) -> Removed:
    """Remove what may go, so that nothing of it stays in the file."""
    tx.write_events()
    through, gone = removal.after_seq, []
    shares: Counter[int] = Counter()
    for seq, at_ms, kind, call_id in tx.db.execute(_NEXT, (removal.after_seq, removal.most)).fetchall():
        if at_ms >= removal.before_ms:
            break
        through = seq
        gone += [each for each in _due(tx, (seq, kind, call_id), removal.at_ms) if _cut(tx, each, shares)]
    let_go(tx.db, shares)
    if gone:
        told = (removal.at_ms, EventKind.BODIES_REMOVED.value, RETENTION, "", "", "", "")
        tx.append(told, dump(told_removed(removal, through, gone)))
    return Removed(through, len(gone))


def _due(tx: Transaction, last: tuple[int, str, str], at_ms: int) -> Iterator[int]:
    """Yield the events that go if this one is the last of its call or approval."""
    seq, kind, call_id = last
    if kind == EventKind.CALL_RECORDED:
        yield seq
    elif kind in ENDINGS:
        for row in tx.db.execute(_CALL, (call_id, seq)).fetchall():
            yield from (each for each in row if each is not None)
    elif is_about_approval(kind):
        approval = row_of(tx.db, call_id)
        if approval is not None and approval.last_seq == seq and is_over(approval, at_ms):
            yield from (each for (each,) in tx.db.execute(_APPROVAL, (call_id,)).fetchall())


def _cut(tx: Transaction, seq: int, shares: Counter[int]) -> bool:
    found = tx.db.execute(_BODY, (seq,)).fetchone()
    if found is None:  # sealed by the first version, as a whole
        return False
    shorter = cut(found[0])
    if shorter == found[0]:
        return False
    tx.db.execute(_CUT, (shorter.decode(), seq))
    if found[1] is not None:
        shares[found[1]] += 1
    return True
