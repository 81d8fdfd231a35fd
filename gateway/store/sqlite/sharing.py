"""What the bodies of many events end with: each text once, as a row that counts the events which name it.

`events.body` is JSON; where `events.shared` names a share, that text takes the place of the last brace. What is read is
always whole. A share goes with the last body that ends with it.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.store.chain import broken
from gateway.store.removable import Share
from gateway.store.row_audit import untold

__all__ = ["Shares", "check_shares", "let_go", "whole"]

_USE: Final = "UPDATE shares SET uses = uses + ? WHERE id = ? AND digest = ?"
_FIND: Final = "SELECT id FROM shares WHERE digest = ?"
_ADD: Final = "INSERT INTO shares (digest, uses, body) VALUES (?, ?, ?)"
_LET_GO: Final = "UPDATE shares SET uses = uses - ? WHERE id = ?"
_FORGET: Final = "DELETE FROM shares WHERE id = ? AND uses = 0"
_KNOWN: Final = 4096
_ALL: Final = "SELECT id, digest, uses, body FROM shares ORDER BY id"


def whole(events: str) -> str:
    """Return the SQL of a whole body, given the name of the table of events in the statement."""
    share = f"(SELECT s.body FROM shares s WHERE s.id = {events}.shared)"  # noqa: S608 - constant names
    return f"coalesce(substr({events}.body, 1, length({events}.body) - 1) || {share}, {events}.body)"


class Shares:
    """The rows of shares, as far as they were used here: a row that is gone meanwhile is written again."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def ids(self, db: sqlite3.Connection, ends: Iterable[Share | None]) -> Mapping[Share | None, int | None]:
        """Count the events to be that end with these shares; return the ids to name them by."""
        uses: dict[Share, int] = {}
        for share in ends:
            if share is not None:
                uses[share] = uses.get(share, 0) + 1
        return {None: None, **{share: self._id(db, share, more) for share, more in uses.items()}}

    def _id(self, db: sqlite3.Connection, share: Share, more: int) -> int:
        known = self._known.get(share.digest)
        if known is not None and db.execute(_USE, (more, known, share.digest)).rowcount:
            return known
        if len(self._known) >= _KNOWN:
            self._known.clear()
        known = self._known[share.digest] = _put(db, share, more)
        return known


def _put(db: sqlite3.Connection, share: Share, more: int) -> int:
    for (found,) in db.execute(_FIND, (share.digest,)).fetchall():
        db.execute(_USE, (more, found, share.digest))
        return int(found)
    added = db.execute(_ADD, (share.digest, more, share.text.decode()))
    return int(added.lastrowid or 0)


def let_go(db: sqlite3.Connection, gone: Counter[int]) -> None:
    """Count so many fewer events that end with each share, by id; the last one takes it along."""
    for share, less in gone.items():
        db.execute(_LET_GO, (less, share))
        db.execute(_FORGET, (share,))


def check_shares(db: sqlite3.Connection, named: Mapping[int, int]) -> None:
    """Hold the shares there are against how many events name each. That each is the right one, their hashes say.

    Raises:
        LedgerTampered: naming the row.
    """
    missing = set(named)
    for share, digest, uses, body in db.execute(_ALL):
        missing.discard(share)
        text = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else b""
        if uses != named.get(share) or digest != hashlib.sha256(text).hexdigest():
            raise untold(f"the row {share} of shares")
    for share in missing:
        [(seq,)] = db.execute("SELECT min(seq) FROM events WHERE shared = ?", (share,)).fetchall()
        raise broken(seq, f"names the row {share} of shares, which is missing")
