"""An evidence bundle: calls with all that stands behind them, in a file that verifies with the public key alone.

A file of JSON lines. The first says what was asked for; then the identity register, the policies that decided (each
under its digest, with the pinned tools), and one part of the chain from the first event shown to a signed head behind
the last one: events that belong to what was asked for as they are on record, the others only as what the chain commits
to. The last line is signed over the SHA-256 of all before it. `gateway.ledger.proof` reads it.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import dump
from gateway.ledger.bundles import kept_bundle
from gateway.ledger.forking import first_calls, origin_in
from gateway.ledger.heads import Heads
from gateway.ledger.signing import SigningKey
from gateway.ledger.trace import call_events
from gateway.model.clock import Clock
from gateway.store.bodies import load, used_in
from gateway.store.chain import content_of, is_of_the_first_version, link_of
from gateway.store.ports import Event, EventFilter, EventKind, Ledger

__all__ = ["EVIDENCE", "FORMAT", "Exporter", "Identities", "NotShowable"]

EVIDENCE: Final = "toolgate-evidence+jwt"
"""The `typ` of the last line's signature; it claims `sha256` and `made_ms`."""

FORMAT: Final = 1
_EVERYTHING: Final = 2**63 - 1
_OTHERS: Final = frozenset({EventKind.HEAD_SIGNED, EventKind.BUNDLE_KEPT})


class NotShowable(ValueError):
    """Something that nobody asked for could not be left out; the text says what to ask for instead."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The identity register: who may call, with which credentials, who may be asked, which agents were seen."""

    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    people: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    credentials: Sequence[Mapping[str, Any]] = ()
    seen: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True)
class _Shown:
    """The events to show, by seq, the digests of the policies that decided them, and the calls and approvals."""

    seqs: set[int] = field(default_factory=set)
    bundles: dict[str, None] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)


class Exporter:
    """Writes evidence bundles of one ledger, signed with `key`."""

    def __init__(self, ledger: Ledger, heads: Heads, key: SigningKey, clock: Clock) -> None:
        self._ledger = ledger
        self._heads = heads
        self._key = key
        self._clock = clock

    async def lines(self, wanted: EventFilter, identities: Identities) -> AsyncIterator[bytes]:
        """Yield the lines of a bundle with all events that `wanted` names and what these rest on; none for nothing.

        The ledger has to be known to hold: what is written here is signed.

        Raises:
            StoreFault, PrivateFileError: it cannot be made.
            NotShowable: it would show more than was asked for.
        """
        shown = await self._shown(wanted)
        if not shown.seqs:
            return
        await self._heads.sign()
        hashed, made_ms = hashlib.sha256(), self._clock.now_ms()
        async for one in self._members(wanted, identities, shown, made_ms):
            line = dump(one) + b"\n"
            hashed.update(line)
            yield line
        claims = {"sha256": hashed.hexdigest(), "made_ms": made_ms}
        yield dump({"signed": self._key.sign(claims, EVIDENCE)}) + b"\n"

    async def _members(
        self, wanted: EventFilter, identities: Identities, shown: _Shown, made_ms: int
    ) -> AsyncIterator[Mapping[str, Any]]:
        asked = {name: getattr(wanted, name) for name in _ASKED if getattr(wanted, name)}
        yield {"evidence": FORMAT}
        yield {"asked": {**asked, "made_ms": made_ms}}
        register = {name: getattr(identities, name) for name in ("agents", "people", "credentials", "seen")}
        yield {"register": register}
        for digest in shown.bundles:
            bundle = await kept_bundle(self._ledger, digest)
            if bundle is not None:
                yield {"bundle": bundle}
        async for link in self._chain(shown.seqs):
            yield link

    async def _shown(self, wanted: EventFilter) -> _Shown:
        shown = _Shown()
        async for event in self._ledger.events(wanted):
            if event.kind not in _OTHERS:
                self._show(event, shown)
                shown.calls[event.call_id] = None
                origin = origin_in(event)
                shown.calls |= {} if origin is None else await first_calls(self._ledger, origin)
        read: set[str] = set()
        while left := [one for one in shown.calls if one not in read]:
            for call_id in left:
                for event in await call_events(self._ledger, call_id):
                    self._show(event, shown)
            read.update(left)
        return shown

    @staticmethod
    def _show(event: Event, shown: _Shown) -> None:
        if event.seq in shown.seqs:
            return
        shown.seqs.add(event.seq)
        if not event.kind.startswith("call."):
            return
        body = load(event.body.encode())
        bundle = body.get("decision", {}).get("bundle")
        if bundle:
            shown.bundles[bundle] = None
        shown.calls.update(dict.fromkeys(_related(body)))

    async def _chain(self, seqs: set[int]) -> AsyncIterator[Mapping[str, Any]]:
        first, last = min(seqs), max(seqs)
        async for event in self._ledger.events(EventFilter(after_seq=first - 1, limit=_EVERYTHING)):
            is_head = event.kind is EventKind.HEAD_SIGNED
            if event.seq in seqs or is_head:
                yield {"event": _whole(event, with_prev=event.seq == first)}
            elif is_of_the_first_version(event.hash):
                raise NotShowable(
                    f"event {event.seq}, which was not asked for, was written by an earlier version and can only be "
                    f"shown whole; ask for all from then on (--since)"
                )
            else:
                yield {"link": content_of(link_of(event)[:8], event.body.encode())}
            if is_head and load(event.body.encode())["seq"] >= last:
                return


_ASKED: Final = ("call_id", "run_id", "agent", "tool", "since_ms", "until_ms")


def _related(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the calls and approvals that a call rests on."""
    facts = body.get("facts", {})
    yield from (step["call_id"] for step in facts.get("priors", {}).values())
    approvals = (*(facts.get(name, {}).get("id") for name in ("approval", "grant")), *used_in(body))
    others = (body.get("undoes"), body.get("replayed_from"), body.get("waiting", {}).get("on"))
    yield from (one for one in (*approvals, *others, body.get("source", {}).get("call")) if one)


def _whole(event: Event, *, with_prev: bool) -> Mapping[str, Any]:
    told = {
        "seq": event.seq,
        "at_ms": event.at_ms,
        "kind": str(event.kind),
        "call_id": event.call_id,
        "run_id": event.run_id,
        "agent": event.agent,
        "on_behalf_of": event.on_behalf_of,
        "tool": event.tool,
        "body": event.body,
        "hash": event.hash,
    }
    return {**told, "prev_hash": event.prev_hash} if with_prev else told
