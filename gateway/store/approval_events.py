"""What the events of an approval say, and whether its row says the same.

Every event of an approval carries the approval's id as its call id, and a member `row`: what the row must be from then
on (`binding`, `standing`, `state`, `version`, `used`, `most`, `until_ms`). So the first, the deciding and the last
event prove an approval, however often it was used.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.codec import CodecError, dump
from gateway.model.errors import LedgerTampered, StoreFault
from gateway.store.approvals import ApprovalAsk, ApprovalChange, ApprovalRow, ApprovalState, ApprovalTrail, ApprovalUse
from gateway.store.bodies import load
from gateway.store.chain import Told, broken, check_event
from gateway.store.ports import Event, EventKind
from gateway.store.removable import parts

__all__ = [
    "OPENS",
    "body_of",
    "changed",
    "check_last",
    "contradicted",
    "may_be_used",
    "opened",
    "returned",
    "trail_of",
    "used",
]


OPENS: Final = frozenset({EventKind.APPROVAL_ASKED, EventKind.STANDING_CREATED})
"""What the first event of an approval is."""


def opened(ask: ApprovalAsk, seq: int) -> ApprovalRow:
    """Return the row of an approval opened by event `seq`."""
    terms = (ask.standing, str(ask.state), seq, 0, ask.most, ask.until_ms)
    return ApprovalRow(ask.id, seq, ask.binding, *terms, seq)


def changed(row: ApprovalRow, change: ApprovalChange, seq: int) -> ApprovalRow:
    """Return the row as event `seq` leaves it."""
    return row._replace(state=str(change.state), version=seq, until_ms=change.until_ms, last_seq=seq)


def may_be_used(row: ApprovalRow, wanted: ApprovalUse, at_ms: int) -> bool:
    """Tell whether a call that was decided on `wanted` may use the approval now."""
    as_decided = row.state == ApprovalState.APPROVED and row.version == wanted.version
    return as_decided and row.used < row.most and at_ms < row.until_ms


def used(row: ApprovalRow, seq: int) -> ApprovalRow:
    """Return the row once event `seq` has used the approval."""
    return row._replace(used=row.used + 1, last_seq=seq)


def returned(row: ApprovalRow, seq: int) -> ApprovalRow:
    """Return the row once event `seq` has given a use back."""
    return row._replace(used=row.used - 1, last_seq=seq)


def body_of(row: ApprovalRow, body: Mapping[str, Any]) -> bytes:
    """Return the text of the event that makes the row this. Raises `StoreFault` when it cannot be written."""
    try:
        return dump(parts({"row": _terms(row)}, body))
    except (CodecError, UnicodeEncodeError) as error:
        raise StoreFault("The approval cannot be recorded.", detail=f"{row.id}: {error}") from error


def trail_of(row: ApprovalRow, asked: Told, decided: Told, last: Told) -> ApprovalTrail:
    """Return the approval these events tell of. Raises `LedgerTampered` where they, or the row, were changed."""
    opening, deciding = _checked(row, asked, row.asked_seq), _checked(row, decided, row.version)
    latest = _checked(row, last, row.last_seq)
    last_body = _body(latest)
    check_last(row, latest.seq, last_body)
    if opening.kind not in OPENS:
        raise contradicted(row)
    return ApprovalTrail(
        row=row,
        agent=opening.agent,
        on_behalf_of=opening.on_behalf_of,
        tool=opening.tool,
        run_id=opening.run_id,
        asked_ms=opening.at_ms,
        decided_ms=deciding.at_ms,
        asked=_body(opening),
        decided=_body(deciding),
        used_by=last_body.get("call", "") if latest.kind is EventKind.APPROVAL_USED else "",
    )


def check_last(row: ApprovalRow, seq: int, body: Mapping[str, Any]) -> None:
    """Check a row against the last event of its approval. Raises `LedgerTampered`."""
    if row.last_seq != seq or body.get("row") != _terms(row):
        raise contradicted(row)


def contradicted(row: ApprovalRow) -> LedgerTampered:
    """Return the fault of a row that its events do not bear out."""
    seq = row.last_seq if type(row.last_seq) is int else 1
    return broken(seq, f"is contradicted by the row of approval {row.id}")


def _terms(row: ApprovalRow) -> dict[str, Any]:
    return {
        "binding": row.binding,
        "standing": bool(row.standing),
        "state": row.state,
        "version": row.version,
        "used": row.used,
        "most": row.most,
        "until_ms": row.until_ms,
    }


def _checked(row: ApprovalRow, told: Told, seq: int) -> Event:
    event = told.event
    if event is None or event.seq != seq or event.call_id != row.id:
        raise contradicted(row)
    check_event(event, told.following)
    return event


def _body(event: Event) -> dict[str, Any]:
    try:
        body = load(event.body.encode())
    except ValueError:
        body = {}
    if type(body.get("row")) is not dict:
        raise broken(event.seq, "tells of no approval")
    return body
