"""Replay: recorded decisions made again from what they were made of. Nothing is called, nothing is written."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gateway.codec import dump
from gateway.ledger.bundles import is_as_named, kept_bundle
from gateway.ledger.entries import decision_body, given_in
from gateway.model.errors import PolicyFault
from gateway.policy import Bundle, PolicyLoadError, bundle_from, decide, from_json
from gateway.redaction.rewrite import MARK
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Ledger

__all__ = ["DECIDED", "RecordedBundles", "Replayed", "Verdict", "replay"]

DECIDED: Final = frozenset({EventKind.CALL_CLAIMED, EventKind.CALL_RECORDED})
"""The events that say how a call was decided."""


class Verdict(StrEnum):
    """How a decision made again compares with the one on record."""

    EQUAL = "equal"
    REWORDED = "reworded"  # the same, but this version of the gateway tells the agent in other words
    DIFFERS = "differs"
    REDACTED = "redacted"  # it differs, and what it was made of holds a secret that was not kept
    REMOVED = "removed"  # what it was made of was kept for its time only
    NO_BUNDLE = "no_bundle"  # the policies that decided are not on record, or this version cannot read them


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recorded call. `recorded` and `decided` are decisions as the ledger writes them; `why` says what is amiss."""

    event: Event
    verdict: Verdict
    recorded: Mapping[str, Any] = field(repr=False)
    decided: Mapping[str, Any] = field(default_factory=dict, repr=False)
    why: str = ""


class RecordedBundles:
    """The bundles on record, each read and built once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, Bundle | str] = {}

    async def get(self, digest: str) -> Bundle:
        """Return the bundle that decisions name by this digest.

        Raises:
            PolicyFault: it is not on record, is not the one it is named for, or cannot be read by this version.
            StoreFault: the ledger cannot be read.
        """
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = await self._read(digest)
        if isinstance(found, str):
            raise PolicyFault("The policies that decided cannot be had.", detail=found)
        return found

    async def _read(self, digest: str) -> Bundle | str:
        body = await kept_bundle(self._ledger, digest)
        if body is None:
            return f"no bundle {digest} is on record"
        if body.get("digest") != digest or not is_as_named(body):
            return f"what is on record as the bundle {digest} is another"
        try:
            return bundle_from(body)
        except (PolicyLoadError, KeyError, TypeError, ValueError) as error:
            return f"this version of the gateway cannot read the bundle {digest}: {error}"


async def replay(ledger: Ledger, wanted: EventFilter) -> AsyncIterator[Replayed]:
    """Decide again every decided call that `wanted` names, in order. Raises `StoreFault`."""
    bundles = RecordedBundles(ledger)
    async for event in ledger.events(wanted):
        body = load(event.body.encode()) if event.kind in DECIDED else {}
        given = given_in(body)
        if "removed" in body:
            yield Replayed(event, Verdict.REMOVED, {}, why="removed by retention")
        elif given is not None:
            yield await _again(event, body["decision"], given, bundles)


async def _again(
    event: Event, recorded: Mapping[str, Any], given: Mapping[str, Any], bundles: RecordedBundles
) -> Replayed:
    try:
        bundle = await bundles.get(recorded["bundle"])
    except PolicyFault as fault:
        return Replayed(event, Verdict.NO_BUNDLE, recorded, why=fault.detail)
    # The digest also covers the schema, which another version of the gateway builds otherwise: the policies it names
    # were compared with it when they were read.
    decided = decision_body(replace(decide(bundle, from_json(given)), bundle=recorded["bundle"]))
    if dump(decided) == dump(recorded):
        return Replayed(event, Verdict.EQUAL, recorded, decided)
    if MARK.encode() in dump([given, recorded]):
        return Replayed(event, Verdict.REDACTED, recorded, decided, "it was made of a secret that was not kept")
    other = [name for name in recorded.keys() | decided.keys() if recorded.get(name) != decided.get(name)]
    verdict = Verdict.REWORDED if other == ["message"] else Verdict.DIFFERS
    return Replayed(event, verdict, recorded, decided, f"another {', '.join(sorted(other))}")
