"""Signed heads: the gateway states with its own key where the ledger ended, in the ledger and in a file beside it.

A head in the ledger is an event that states the one before it; `rows` in it says that its version tells of every row
(store/told_rows.py), `sums` that it keeps a sum of all others (store/sums.py). The file, the anchor, states the last
event there was when it was written. So a ledger whose end is cut off, or that is an older copy, is found out when it is
loaded, and so is one that was sealed anew: whoever did that has the file, but neither the anchor nor the key. What came
after the anchor was written (`every`, and what commands write while no gateway runs) can still be cut off unseen;
whoever holds the key can state anything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.ledger.config import Pace
from gateway.ledger.signing import NotSigned, SigningKey, signed_claims
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError, LedgerTampered
from gateway.store.bodies import load
from gateway.store.chain import broken
from gateway.store.ports import Event, EventFilter, EventKind, Ledger, Record
from gateway.store.private_file import PrivateFileError, read_private, write_private

__all__ = ["HEAD", "HEADS", "Heads"]

HEAD: Final = "toolgate-head+jwt"
"""The `typ` of a signed head; it claims `seq`, `hash` and `at_ms`."""

HEADS: Final = "head"
"""What the events that hold signed heads have in the place of a call's id."""

Adopt = Callable[[], Awaitable[None]]
_LOG: Final = logging.getLogger(__name__)
_LOOKS_S: Final = 1.0
_FIX: Final = (
    "Bring back the file that was written last, or, if this one is right, say so: toolgate verify --accept WHY"
)


class Heads:
    """Signs heads of one ledger with `key`, and holds the ledger against those it finds. `anchor` is the file."""

    def __init__(self, ledger: Ledger, key: SigningKey, anchor: Path, clock: Clock) -> None:
        self._ledger = ledger
        self._key = key
        self._anchor = anchor
        self._clock = clock

    async def check(self) -> None:
        """Hold the ledger, whose chain is known to hold, against the anchor and the last head in it.

        Raises:
            LedgerTampered: what was stated to be there is not; nothing may be written on.
            StoreFault: the ledger cannot be read.
        """
        head = await self._last_head()
        anchor = await asyncio.to_thread(self._read_anchor)
        if anchor is None and head is not None:
            raise broken(head.seq, f"says that {self._anchor} states where the ledger ends, and that is gone. {_FIX}")
        anchored = await self._hold(anchor, f"by {self._anchor}", 1) if anchor is not None else 0
        stated = await self._hold(_token(head), f"by event {head.seq}", head.seq) if head is not None else 0
        if head is not None and anchored < stated:
            older = f"states event {stated}, but {self._anchor}, which was written before, only event {anchored}"
            raise broken(head.seq, f"{older}: it is an older one. {_FIX}")

    async def sign(self) -> None:
        """State where the ledger ends now, unless that has been done.

        Raises:
            StoreFault, PrivateFileError: it cannot be; it is tried again with the next.
        """
        last = await self._last()
        if last is None:
            return
        await asyncio.to_thread(self._write_anchor, last)  # before a head says that there is one, and how far it goes
        if not _is_stated(last):
            now = self._clock.now_ms()
            body = {"seq": last.seq, "token": self._key.sign(_claims(last, now), HEAD), "rows": True, "sums": True}
            await self._ledger.record(Record(HEADS, now, "", "", "", "", body, EventKind.HEAD_SIGNED))
            await asyncio.to_thread(self._write_anchor, await self._last() or last)

    async def watch(self, pace: Pace) -> None:
        """Sign heads as they come, for ever; what cannot be signed is told to the log and tried again."""
        signed_at, seq = self._clock.monotonic(), 0
        while True:
            await self._clock.sleep(_LOOKS_S)
            try:
                last = await self._last()
                if last is None or last.seq == seq:
                    continue
                if last.seq - seq >= pace.events or self._clock.monotonic() - signed_at >= pace.seconds:
                    await self.sign()
                    signed_at, seq = self._clock.monotonic(), last.seq + 1
            except (GatewayError, PrivateFileError) as error:
                _LOG.error("the head of the ledger could not be signed: %s", error)

    async def close(self) -> None:
        """Sign the last head, so that nothing of a ledger at rest can be cut off unseen."""
        try:
            await self.sign()
        except (GatewayError, PrivateFileError) as error:
            _LOG.error("the last head of the ledger could not be signed: %s", error)

    async def accept(self, by: str, why: str, found: str = "", adopt: Adopt | None = None) -> None:
        """Go on from the ledger as it is, whatever was stated before, and was `found` already: on record, and signed.

        What has rows taken as they are, if that is needed, is called once it is on record, and not where it cannot be.

        Raises:
            StoreFault, PrivateFileError: it cannot be.
        """
        try:
            await self.check()
        except LedgerTampered as broke:
            found = f"{found} {broke.detail}".strip()
        body = {"deed": "ledger accepted", "by": by, "why": why, "found": found}
        await self._ledger.record(Record("", self._clock.now_ms(), "", "", "", "", body, EventKind.ADMIN))
        if adopt is not None:
            await adopt()
        await self.sign()

    async def _hold(self, token: str, where: str, at: int) -> int:
        """Hold the ledger against a statement; return the event that it states."""
        try:
            claims = signed_claims(token, self._key.jwks(), HEAD)
            seq, digest = int(claims["seq"]), str(claims["hash"])
        except (NotSigned, KeyError, ValueError) as error:
            doubt = f"is in doubt: what is stated {where} was not signed with this gateway's key ({error}). {_FIX}"
            raise broken(at, doubt) from None
        stated = f"stated {where} to be {digest}"
        found = [event async for event in self._ledger.events(EventFilter(after_seq=seq - 1, limit=1))]
        if not found:
            raise broken(seq, f"is gone, and perhaps others before it: it was {stated}. {_FIX}")
        if found[0].seq != seq or found[0].hash != digest:
            raise broken(seq, f"is another than was written: it was {stated}. {_FIX}")
        return seq

    async def _last(self) -> Event | None:
        found = [event async for event in self._ledger.events(EventFilter(limit=1, latest=True))]
        return found[0] if found else None

    async def _last_head(self) -> Event | None:
        wanted = EventFilter(call_id=HEADS, limit=1, latest=True)
        found = [event async for event in self._ledger.events(wanted)]
        return found[0] if found else None

    def _read_anchor(self) -> str | None:
        try:
            held = read_private(self._anchor)
        except PrivateFileError as error:
            raise broken(1, f"and all others are in doubt: {error}") from None
        return None if held is None else held.decode("ascii", "replace").strip()

    def _write_anchor(self, last: Event) -> None:
        write_private(self._anchor, self._key.sign(_claims(last, last.at_ms), HEAD).encode() + b"\n")


def _claims(event: Event, at_ms: int) -> Mapping[str, Any]:
    return {"seq": event.seq, "hash": event.hash, "at_ms": at_ms}


def _token(head: Event) -> str:
    return str(load(head.body.encode()).get("token", ""))


def _is_stated(last: Event) -> bool:
    """Tell whether the last event is a head that states the one before it."""
    return last.kind is EventKind.HEAD_SIGNED and load(last.body.encode()).get("seq") == last.seq - 1
