"""Which events may lose their bodies, and the event that says which did."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.store.approvals import ApprovalRow, ApprovalState
from gateway.store.ports import EventKind
from gateway.store.retention import Removal

__all__ = ["ENDINGS", "RETENTION", "first_outside", "is_about_approval", "is_over", "spans", "spans_in", "told_removed"]

RETENTION: Final = "retention"
"""What the events that tell of removed bodies have in the place of a call's id."""

ENDINGS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED, EventKind.CALL_COMPENSATED})
"""The events that may be the last of a claimed call."""


def is_about_approval(kind: str) -> bool:
    """Tell whether an event is one of an approval."""
    return kind.startswith(("approval.", "standing."))


def is_over(row: ApprovalRow, at_ms: int) -> bool:
    """Tell whether an approval can never be used again, not even if the call that used it gives it back."""
    return row.until_ms <= at_ms or row.state not in {ApprovalState.PENDING, ApprovalState.APPROVED}


def spans(seqs: Iterable[int]) -> list[list[int]]:
    """Return numbers as the first and last of each run of them, in order."""
    found: list[list[int]] = []
    for seq in sorted(seqs):
        if found and seq == found[-1][1] + 1:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return found


def told_removed(removal: Removal, through_seq: int, seqs: Sequence[int]) -> dict[str, Any]:
    """Return what the event says of the bodies that went."""
    return {"through": through_seq, "before_ms": removal.before_ms, "bodies": len(seqs), "removed": spans(seqs)}


def spans_in(body: Mapping[str, Any]) -> list[list[int]]:
    """Return the spans of events that an event says it took bodies from."""
    told = body.get("removed")
    return [each for each in told if _is_span(each)] if isinstance(told, list) else []


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(seq) is int for seq in value)


def first_outside(found: Sequence[list[int]], told: Sequence[list[int]]) -> int:
    """Return the first number in the spans `found`, which are in order, that is in none of those `told`, or 0."""
    ordered = sorted(told)
    at = 0
    for first, last in found:
        seq = first
        while seq <= last:
            while at < len(ordered) and ordered[at][1] < seq:
                at += 1
            if at == len(ordered) or ordered[at][0] > seq:
                return seq
            seq = ordered[at][1] + 1
    return 0
