"""Ending the doubt about a call: what a person says of one whose outcome is not known (LEDGER.md §4)."""

from collections.abc import Mapping
from typing import Any

from gateway.ledger.charging import settled_later
from gateway.ledger.trace import CallLine, one_line
from gateway.model.errors import RequestFault
from gateway.model.facts import StepStatus
from gateway.store.bodies import used_in
from gateway.store.ports import Ending, Ledger

__all__ = ["settle", "settle_by_lookup"]


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
    if line.outcome == "unknown" and not line.in_doubt:
        first = (line.asked.get("facts") or {}).get("repeat_of")
        whose = f"it was not sent, since {first} was before it" if first else "it was not sent"
        raise RequestFault(f"{call_id} is not in doubt: {whose}.")
    if not line.in_doubt:
        raise RequestFault(f"{call_id} is not in doubt: it is {line.outcome}.")
    succeeded = status is StepStatus.SUCCEEDED
    note = f": {said['note']}" if said["note"] else ""
    text = f"Settled by a person as {'succeeded' if succeeded else 'failed'}{note}."
    known = {"structuredContent": said["result"]} if "result" in said else {}
    result = {"content": [{"type": "text", "text": text}], **known}
    await _settle(ledger, line, (succeeded, result, text), {"by": said["by"], "note": said["note"]}, at_ms)
    settled = await one_line(ledger, call_id)
    assert settled is not None
    return settled


async def settle_by_lookup(
    ledger: Ledger, call_id: str, status: StepStatus, found: tuple[str, Mapping[str, Any]], at_ms: int
) -> None:
    """Put on record what a look-up found out about a call in doubt: by whom, and the call's result or the answer.

    Raises:
        RequestFault: there is no such call, or it is not in doubt any more.
        StoreFault: it cannot be written.
    """
    line = await one_line(ledger, call_id)
    if line is None or line.outcome != "unknown":
        raise RequestFault(f"{call_id} is not in doubt.")
    by, result = found
    succeeded = status is StepStatus.SUCCEEDED
    told = {"by": "lookup", "note": f"asked {by}", **({} if succeeded else {"answer": result})}
    text = f"{by} was asked: it has not happened. It may be made again."
    await _settle(ledger, line, (succeeded, result, text), told, at_ms)


async def _settle(
    ledger: Ledger, line: CallLine, found: tuple[bool, Mapping[str, Any], str], told: Mapping[str, Any], at_ms: int
) -> None:
    succeeded, result, text = found
    body: dict[str, Any] = {
        "outcome": "succeeded" if succeeded else "failed",
        "settled": told,
        "timing": {"received_ms": line.at_ms, "ended_ms": at_ms},
    }
    if succeeded:
        body["result"] = result
    else:
        body["error"] = {"code": "rejected", "message": text, "detail": ""}
    ending = Ending(
        line.call_id,
        at_ms,
        StepStatus.SUCCEEDED if succeeded else StepStatus.FAILED,
        body,
        release=not succeeded,
        returns=() if succeeded else used_in(line.asked),
        charges=settled_later(line.asked, succeeded=succeeded),
        compensates=line.asked.get("undoes", ""),
    )
    await ledger.settle(ending)
