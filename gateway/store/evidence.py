"""What stands behind an answer of the ledger, and the answer made of it: events only, each checked against its hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.model.facts import Step, StepStatus
from gateway.store.bodies import load
from gateway.store.chain import broken, check_event
from gateway.store.imports import FIRST, IMPORTED
from gateway.store.ports import Event, Recorded, StepLookup

__all__ = ["Evidence", "holds", "recorded_from", "recorded_whole", "step_from"]

_IMPORTED: Final = f'"{IMPORTED}":'  # JSON escapes quotes in texts: without it in the text there is no such member


@dataclass(frozen=True, slots=True)
class Evidence:
    """The events of one claimed call; `after_*` is the hash that the event's successor, or the head, names."""

    claim: Event
    after_claim: str | None
    end: Event | None
    after_end: str | None
    consumed_by: str | None
    delivered: int


def step_from(evidence: Evidence) -> Step:
    """Return the step these events tell of. Raises `LedgerTampered`."""
    claim, end = evidence.claim, evidence.end
    claimed, ended = _bodies(evidence)
    return Step(
        call_id=claim.call_id,
        tool=claim.tool,
        agent=claim.agent,
        run_id=claim.run_id,
        status=_status(ended),
        started_at_ms=claim.at_ms,
        at_ms=claim.at_ms if end is None else end.at_ms,
        arguments=_object(claimed.get("arguments")) or {},
        output=_output(ended),
        on_behalf_of=claim.on_behalf_of or None,
        consumed_by=evidence.consumed_by,
        labels=_labels(ended),
    )


def recorded_from(evidence: Evidence) -> Recorded:
    """Return the recorded call these events tell of. Raises `LedgerTampered`."""
    claim = evidence.claim
    claimed, ended = _bodies(evidence)
    terms = claimed["claim"]
    return Recorded(
        call_id=claim.call_id,
        tool=claim.tool,
        agent=claim.agent,
        run_id=claim.run_id,
        status=_status(ended),
        arguments_digest=terms["arguments_digest"],
        step_key=terms["step_key"],
        started_at_ms=claim.at_ms,
        delivered=evidence.delivered,
        claim_body=claimed,
        end_body=ended,
    )


def recorded_whole(event: Event, following: str | None) -> Recorded:
    """Return the call that one event tells of from beginning to end. Raises `LedgerTampered`."""
    check_event(event, following)
    body = load(event.body.encode())
    succeeded = body.get("outcome") == "succeeded"
    return Recorded(
        call_id=event.call_id,
        tool=event.tool,
        agent=event.agent,
        run_id=event.run_id,
        status=StepStatus.SUCCEEDED if succeeded else StepStatus.FAILED,
        arguments_digest=body.get("arguments_digest", ""),
        step_key=None,
        started_at_ms=event.at_ms,
        delivered=0,
        claim_body=body,
        end_body=body,
    )


def holds(claim: Event, lookup: StepLookup) -> bool:
    """Tell whether a claim's arguments have the values looked for at their dotted paths, compared as JSON.

    One that was imported only where such are looked for, and never where it is what a fork begins with.

    Raises:
        LedgerTampered: the body is not what a ledger writes.
    """
    may_be_imported = _IMPORTED in claim.body
    if not lookup.values and not may_be_imported:
        return True
    try:
        body = load(claim.body.encode())
    except ValueError:
        raise broken(claim.seq, "was changed after it was written") from None
    mark = body.get(IMPORTED) if may_be_imported else None
    if mark is not None and (not lookup.imported or mark.get(FIRST)):
        return False
    return all(_same(_at(body.get("arguments"), path), value) for path, value in lookup.values)


def _at(node: Any, path: str) -> Any:
    for name in path.split("."):
        if type(node) is not dict or name not in node:
            return None
        node = node[name]
    return node


def _same(found: Any, wanted: str | int | float | bool) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(found == wanted)


def _bodies(evidence: Evidence) -> tuple[dict[str, Any], dict[str, Any] | None]:
    check_event(evidence.claim, evidence.after_claim)
    claimed = load(evidence.claim.body.encode())
    if evidence.end is None:
        return claimed, None
    check_event(evidence.end, evidence.after_end)
    return claimed, load(evidence.end.body.encode())


def _status(ended: Mapping[str, Any] | None) -> StepStatus:
    return StepStatus.EXECUTING if ended is None else StepStatus(ended["ending"]["status"])


def _labels(ended: Mapping[str, Any] | None) -> tuple[str, ...]:
    labels = None if ended is None else ended.get("labels")
    return tuple(map(str, labels)) if type(labels) is list else ()


def _output(ended: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if ended is None or _status(ended) is not StepStatus.SUCCEEDED:
        return None
    result = _object(ended.get("result"))
    return None if result is None else _object(result.get("structuredContent"))


def _object(value: Any) -> dict[str, Any] | None:
    return value if type(value) is dict else None
