"""What the events of a fact say, whether its row says the same, and what is to become of a put."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from gateway.codec import CodecError, canonical, dump
from gateway.model.errors import LedgerTampered, StoreFault
from gateway.store.bodies import load
from gateway.store.chain import Told, broken, check_event
from gateway.store.facts import Fact, FactPut, FactRow, FactVerdict
from gateway.store.ports import EventKind

__all__ = [
    "FACT_EVENTS",
    "contradicted",
    "contradiction_body",
    "fact_body",
    "fact_from",
    "is_told",
    "judged",
    "row_after",
    "told_of",
]

K = TypeVar("K")
FACT_EVENTS: Final = frozenset({EventKind.FACT_PUT, EventKind.FACT_DELETED})
"""The events that make a fact what it is."""


def judged(put: FactPut, held: Fact | None, count: int) -> FactVerdict:
    """Return what is to become of a put, where `held` holds now and the owner has `count` facts."""
    if put.expects is not None and put.expects != (0 if held is None else held.version):
        return FactVerdict.CONFLICT
    if put.gone:
        return FactVerdict.ABSENT if held is None else FactVerdict.STORED
    if put.expects is None and held is not None and canonical(held.value) != canonical(put.value):
        return FactVerdict.CONFLICT
    return FactVerdict.FULL if held is None and count >= put.most else FactVerdict.STORED


def row_after(put: FactPut, row: FactRow | None, seq: int) -> FactRow:
    """Return the row once event `seq` has carried a put out; versions count on, whatever was deleted or expired."""
    version = 1 if row is None else row.version + 1
    return FactRow(*put.key, version, seq, 0 if put.gone else put.until_ms, int(put.gone))


def told_of(put: FactPut, kind: K) -> tuple[int, K, str, str, str, str, str]:
    """Return the header of the event that tells of a put, but for its seq."""
    return put.at_ms, kind, put.call_id, put.run_id, put.agent, put.on_behalf_of, put.tool


def fact_body(row: FactRow, put: FactPut) -> bytes:
    """Return the text of the event that makes the row this. Raises `StoreFault` when it cannot be written."""
    taint = {"taint": list(put.taint)} if put.taint else {}
    return _text({"fact": _terms(row), "value": put.value, "proof": put.proof, **taint})


def contradiction_body(put: FactPut, held: Fact | None) -> bytes:
    """Return the text of the event that tells of a put that contradicts what holds, and so was not carried out."""
    holds = None if held is None else {"version": held.version, "value": held.value}
    return _text({"contradicts": put.key._asdict(), "held": holds, "value": put.value, "expects": put.expects})


def fact_from(row: FactRow, told: Told) -> Fact:
    """Return the fact that an event tells of. Raises `LedgerTampered` where it, or the row, was changed."""
    event = told.event
    if event is None or event.kind not in FACT_EVENTS:
        raise contradicted(row)
    check_event(event, told.following)
    body = load(event.body.encode())
    if not is_told(row, body):
        raise contradicted(row)
    return Fact(
        key=row.key,
        version=row.version,
        value=body["value"],
        at_ms=event.at_ms,
        until_ms=row.until_ms,
        call_id=event.call_id,
        run_id=event.run_id,
        agent=event.agent,
        on_behalf_of=event.on_behalf_of,
        proof=body["proof"],
        taint=tuple(body.get("taint", ())),
    )


def is_told(row: FactRow, body: Mapping[str, Any]) -> bool:
    """Tell whether the row is what the body of its event says."""
    return bool(body.get("fact") == _terms(row))


def contradicted(row: FactRow) -> LedgerTampered:
    """Return the fault of a row that its event does not bear out."""
    return broken(row.seq, f"is contradicted by the row of fact {row.scope}:{row.owner}:{row.name}")


def _terms(row: FactRow) -> dict[str, Any]:
    return {**row.key._asdict(), "version": row.version, "until_ms": row.until_ms, "gone": bool(row.gone)}


def _text(body: Mapping[str, Any]) -> bytes:
    try:
        return dump(body)
    except (CodecError, UnicodeEncodeError) as error:
        raise StoreFault("The fact cannot be recorded.", detail=str(error)) from error
