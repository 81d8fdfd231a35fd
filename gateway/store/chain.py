"""The hash chain: every event carries the hash of the one before it.

A link's hash is `2.` and the SHA-256 of its predecessor's hash, a newline, and its `content`: the SHA-256 of three
lines, the compact JSON `[seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool]`, what is always kept of the
body's text, and the digest of what may be removed of it (store/removable.py). JSON escapes newlines, so no two events
share an encoding. A link can be shown by its content alone, without its event.

A hash without `2.` is of an earlier version: the SHA-256 of `[prev_hash, seq, at_ms, kind, call_id, run_id, agent,
on_behalf_of, tool]`, a newline, and the whole body.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.codec import CodecError, dump
from gateway.model.errors import LedgerTampered
from gateway.store.ports import Event
from gateway.store.removable import Share, parted

__all__ = [
    "GENESIS",
    "Head",
    "Header",
    "Link",
    "Told",
    "broken",
    "chained",
    "check_event",
    "checked",
    "content_of",
    "is_of_the_first_version",
    "link_holds",
    "link_of",
    "seal",
    "told_in",
]

GENESIS: Final = "0" * 64
"""What the first event names as its predecessor's hash."""

_VERSION: Final = "2."

Header = tuple[int, int, str, str, str, str, str, str]
"""`seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool` of an event."""

Link = tuple[int, int, str, str, str, str, str, str, str, str, bytes]
"""A header, then `prev_hash, hash, body`: an event as it is read for checking."""

Head = tuple[int, str]
"""`seq, hash` of the last event; `(0, GENESIS)` of an empty ledger."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the hash that its successor, or the head of the chain, names."""

    event: Event | None
    following: str | None


def told_in(events: Sequence[Event], seq: int) -> Told:
    """Return one of all events."""
    return Told(events[seq - 1], events[seq].prev_hash if seq < len(events) else events[-1].hash)


def seal(prev_hash: str, header: Header, body: bytes, share: Share | None = None) -> str:
    """Return the hash of one link; its body is without the `share` that it ends with, if any.

    Raises:
        CodecError: a field is not text or a number that UTF-8 JSON can carry.
    """
    return chained(prev_hash, content_of(header, body, share))


def content_of(header: Header, body: bytes, share: Share | None = None) -> str:
    """Return what the chain commits to of one event, 64 hex digits. `body` as in `seal`. Raises `CodecError`."""
    kept, rest = parted(body, share)
    return hashlib.sha256(b"\n".join((dump(header), kept, rest.encode()))).hexdigest()


def chained(prev_hash: str, content: str) -> str:
    """Return the hash of a link with this content."""
    return _VERSION + hashlib.sha256(f"{prev_hash}\n{content}".encode()).hexdigest()


def is_of_the_first_version(sealed: str) -> bool:
    """Tell whether a hash commits to the whole event, so that it cannot be checked without it."""
    return not sealed.startswith(_VERSION)


def _seal_of_the_first_version(prev_hash: str, header: Header, body: bytes) -> str:
    return hashlib.sha256(dump((prev_hash, *header)) + b"\n" + body).hexdigest()


def link_of(event: Event) -> Link:
    """Return an event as the chain sees it."""
    return (
        *(event.seq, event.at_ms, str(event.kind), event.call_id),
        *(event.run_id, event.agent, event.on_behalf_of, event.tool),
        *(event.prev_hash, event.hash, event.body.encode()),
    )


def check_event(event: Event, following: str | None) -> None:
    """Check that an event is the one that was written: its own hash holds and its successor, or the head, names it.

    Raises:
        LedgerTampered: it does not.
    """
    if not link_holds(link_of(event)):
        raise broken(event.seq, "was changed after it was written")
    if following != event.hash:
        raise broken(event.seq, "was replaced, or the event after it was removed")


def checked(links: Iterable[Link], head: Head) -> Iterator[Link]:
    """Yield the links one by one, each only once it is known to continue the chain; after the last, check the head.

    Raises:
        LedgerTampered: naming the first link that was changed, removed, inserted or moved.
    """
    seq, tip = 0, GENESIS
    for link in links:
        _continues(link, seq, tip)
        yield link
        seq, tip = link[0], link[9]
    if seq < head[0]:
        raise broken(seq + 1, f"is missing, and everything up to {head[0]}")
    if seq > head[0]:
        raise broken(head[0] + 1, "was added without the ledger's knowledge")
    if tip != head[1]:
        raise broken(max(seq, 1), "was replaced: the head of the chain names another")


def _continues(link: Link, seq: int, tip: str) -> None:
    expected = seq + 1
    if link[0] < expected:
        raise broken(link[0], "was inserted before the first event")
    if link[0] > expected:
        raise broken(expected, "is missing")
    if not link_holds(link):
        raise broken(expected, "was changed after it was written")
    if link[8] != tip:
        raise broken(max(seq, 1), "was replaced: the event after it names another")


def link_holds(link: Link) -> bool:
    """Tell whether a link's own hash is that of what is in it."""
    try:
        sealed = _seal_of_the_first_version if is_of_the_first_version(link[9]) else seal
        return sealed(link[8], link[:8], link[10]) == link[9]
    except (CodecError, TypeError, AttributeError, UnicodeError):  # somebody stored what the ledger never writes
        return False


def broken(seq: int, what: str) -> LedgerTampered:
    """Return the fault that says what is wrong with an event."""
    return LedgerTampered(
        "The ledger's record does not hold; an operator has to look at it.",
        seq=seq,
        detail=f"event {seq} {what}",
    )
