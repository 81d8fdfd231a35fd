"""Ending the doubt about a call: what a person says of one whose outcome is not known (LEDGER.md §4)."""

from collections.abc import Mapping
from typing import Any

from gateway.ledger.charging import settled_later
from gateway.ledger.trace import CallLine, one_line
from gateway.model.errors import RequestFault
from gateway.model.facts import StepStatus
from gateway.store.ports import Ending, Ledger

__all__ = ["settle"]


async def settle(ledger: Ledger, call_id: str, status: StepStatus, said: Mapping[str, Any], at_ms: int) -> CallLine:
    """Put on record that a call in doubt succeeded or failed; return the call as it now stands.

    `said` has `by`, `note` and, where the result is known, `result` (its structured content). A call that succeeded
    answers its repeats and counts as history; one that failed used nothing up and may be made again.

    Raises:
        RequestFault: there is no such call, or it is not in doubt.
        StoreFault: it cannot be written.
    """
    line = await one_line(ledger, call_id)
    if line is None:
        raise RequestFault(f"There is no call {call_id!r}.")
    if line.outcome != "unknown":
        raise RequestFault(f"{call_id} is not in doubt: it is {line.outcome}.")
    succeeded = status is StepStatus.SUCCEEDED
    note = f": {said['note']}" if said["note"] else ""
    body: dict[str, Any] = {
        "outcome": "succeeded" if succeeded else "failed",
        "settled": {"by": said["by"], "note": said["note"]},
        "timing": {"received_ms": line.at_ms, "ended_ms": at_ms},
    }
    text = f"Settled by a person as {body['outcome']}{note}."
    if succeeded:
        known = {"structuredContent": said["result"]} if "result" in said else {}
        body["result"] = {"content": [{"type": "text", "text": text}], **known}
    else:
        body["error"] = {"code": "rejected", "message": text, "detail": ""}
    approval = "" if succeeded else line.asked.get("claim", {}).get("approval", "")
    ending = Ending(
        call_id,
        at_ms,
        status,
        body,
        release=not succeeded,
        returns=approval,
        charges=settled_later(line.asked, succeeded=succeeded),
        compensates=line.asked.get("undoes", ""),
    )
    await ledger.settle(ending)
    settled = await one_line(ledger, call_id)
    assert settled is not None
    return settled
