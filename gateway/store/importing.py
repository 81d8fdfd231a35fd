"""An imported run as the transitions that put it on record; the same for every store."""

from collections.abc import Callable, Iterable
from typing import Any

from gateway.codec import dump
from gateway.model.errors import RequestFault
from gateway.model.facts import PriorScope, StepStatus
from gateway.store.bodies import load
from gateway.store.imports import FORKED, ForkedRun, ImportedCall, ImportedFork, ImportedRun
from gateway.store.ports import Ending, Event, EventKind, Intent, Record, StepLookup, StepUse
from gateway.store.runs import AttemptBegin, told_caller

__all__ = [
    "begins_of",
    "begins_of_fork",
    "ending_of",
    "intent_of",
    "on_record",
    "provenance_of",
    "provenance_of_beginning",
    "provenance_of_fork",
    "record_of",
    "start_in",
    "unrecorded",
]


def intent_of(call: ImportedCall, run_id: str) -> Intent:
    """Return what claims a call; the steps it used up are used, whatever a lookup would find."""
    found = StepLookup(call.tool, PriorScope.RUN, run_id, ())
    return Intent(
        call_id=call.call_id,
        at_ms=call.at_ms,
        run_id=run_id,
        session="",
        agent=call.agent,
        on_behalf_of=call.on_behalf_of,
        tool=call.tool,
        arguments_digest=call.arguments_digest,
        step_key=call.step_key,
        body=call.asked,
        uses=tuple(StepUse(found, one, StepStatus.SUCCEEDED, consume=True) for one in call.consumes),
    )


def ending_of(call: ImportedCall) -> Ending:
    """Return what ends a claimed call."""
    return Ending(call.call_id, call.ended_ms, StepStatus.SUCCEEDED, call.ended, compensates=call.compensates)


def record_of(call: ImportedCall, run_id: str) -> Record:
    """Return what tells of a call that is no step."""
    about = call.agent, call.on_behalf_of, call.tool
    return Record(call.call_id, call.at_ms, run_id, *about, call.asked)


def unrecorded(
    imported: ImportedRun, start_of: Callable[[str], Event | None], holder_of: Callable[[ImportedCall], str | None]
) -> tuple[list[ImportedCall], int]:
    """Return which of the calls that a fork begins with are not on record yet, and the seq of the last that is.

    `start_of` finds the first event of a call, `holder_of` the call that holds its step key.

    Raises:
        RequestFault: any other call, or its step key, is on record.
    """
    first, until_seq = [], 0
    for call in () if imported.begins is None else imported.begins.calls:
        start = start_of(call.call_id)
        if start is None:
            first.append(call)
        elif _told(start) == (imported.source, call.agent, call.on_behalf_of, call.tool, call.arguments_digest):
            until_seq = max(until_seq, start.seq)
        else:
            raise on_record(f"The call {call.call_id}")
    for call in (*first, *imported.calls):
        if start_of(call.call_id) is not None:
            raise on_record(f"The call {call.call_id}")
        held = holder_of(call) if call.claimed else None
        if held is not None:
            raise on_record(f"The effect of call {call.call_id} of {call.tool}, as call {held},")
    return first, until_seq


def start_in(events: Iterable[Event], call_id: str) -> Event | None:
    """Return the first event of a call, or None where there is none."""
    return next((event for event in events if event.call_id == call_id), None)


def _told(start: Event) -> tuple[str, ...]:
    body = load(start.body.encode())
    digest = body.get("claim", body).get("arguments_digest", "")
    return start.run_id, start.agent, start.on_behalf_of, start.tool, digest


def provenance_of(imported: ImportedRun) -> tuple[tuple[int, EventKind, str, str, str, str, str], bytes]:
    """Return the event that says where a run is from."""
    told = (imported.at_ms, EventKind.RUN_IMPORTED, "", imported.run.id, "", "", "")
    body: dict[str, Any] = {"by": imported.by, **imported.told}
    return told, dump(body)


def provenance_of_beginning(
    imported: ImportedRun, begins: ImportedFork, until_seq: int
) -> tuple[tuple[int, EventKind, str, str, str, str, str], bytes]:
    """Return the event that says where an imported fork begins."""
    agent, user = told_caller(imported.run.owner)
    body = {"what": FORKED, "by": imported.by, "at": begins.at, "from": begins.source, "until_seq": until_seq}
    return (imported.at_ms, EventKind.ADMIN, "", imported.run.id, agent, user, ""), dump(body)


def provenance_of_fork(forked: ForkedRun) -> list[tuple[tuple[int, EventKind, str, str, str, str, str], bytes]]:
    """Return the events that say where a fork is from: its own, and that of the run it was made of."""
    fork, run = forked.fork, forked.run
    about = {"what": FORKED, "by": forked.by, "at": fork.at}
    own = {**about, "from": fork.source, "until_seq": fork.until_seq}
    agent, user = told_caller(run.owner)
    return [
        ((forked.at_ms, EventKind.ADMIN, "", run.id, agent, user, ""), dump(own)),
        ((forked.at_ms, EventKind.ADMIN, "", fork.source, agent, user, ""), dump({**about, "to": run.id})),
    ]


def begins_of_fork(forked: ForkedRun) -> list[AttemptBegin]:
    """Return what begins a fork anew for everybody who made its first calls."""
    return [AttemptBegin(forked.run.id, who, forked.at_ms, forked.by) for who in forked.fork.callers]


def begins_of(imported: ImportedRun) -> list[AttemptBegin]:
    """Return what begins a run anew for everybody who made calls in it."""
    return [AttemptBegin(imported.run.id, who, imported.at_ms, imported.by) for who in imported.callers]


def on_record(what: str) -> RequestFault:
    """Return the refusal of a run of which something is here already."""
    return RequestFault(f"{what} is on record here already: nothing was imported.")
