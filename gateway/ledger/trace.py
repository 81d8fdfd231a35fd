"""The ledger as people ask it: which calls, by whom, on whose authority, decided by what, with which outcome."""

import csv
import io
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from gateway.codec import dump
from gateway.model.clock import Clock
from gateway.store.bodies import load, used_in
from gateway.store.ports import Event, EventFilter, EventKind, Events, Ledger

__all__ = [
    "Asked",
    "CallLine",
    "as_csv",
    "as_json_line",
    "call_events",
    "call_lines",
    "latest_lines",
    "line_of",
    "one_line",
    "run_lines",
    "tail",
]

_EVERYTHING: Final = 2**31 - 1
_STARTS: Final = frozenset({EventKind.CALL_CLAIMED, EventKind.CALL_RECORDED})
_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED})
_OF_CALLS: Final = _STARTS | _ENDS
_COMPENSATED: Final = "compensated"
_REMOVED: Final = "removed by retention"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call in one line. `outcome` is `executing` while it runs; `duration_ms` is None until it ended.

    A call whose effect another took back is `compensated` where its later history is read too (`one_line`,
    `run_lines`); `ended` is how it ended then as ever.

    `code` is the error's, of a failed or unknown call. `credential_id`, `on_behalf_of`, `owner` (who answers for the
    agent) and `delegation` say on whose authority it was made; `policies` and `bundle` what decided it, `approved_by`
    the people whose approval or grant it used. `message` is what the agent was told. `version` is
    the tool's, and the one that its agent was spoken with in where that is another. `source` says
    where the answer is from, where the tool did not give it to this very call, and `labels` what to know of it.
    """

    seq: int
    call_id: str
    at_ms: int
    agent: str
    on_behalf_of: str
    owner: str
    delegation: tuple[str, ...]
    credential_id: str
    run_id: str
    tool: str
    outcome: str
    code: str
    message: str
    version: str
    policies: tuple[str, ...]
    approved_by: tuple[str, ...]
    bundle: str
    duration_ms: int | None
    replayed_from: str
    source: str
    labels: tuple[str, ...]
    asked: Mapping[str, Any] = field(repr=False)
    ended: Mapping[str, Any] = field(repr=False)

    @property
    def who(self) -> str:
        """Who made the call: the agent, or the child (`payer:reader`) that it had handed a part of its work on to."""
        child = _part(_part(self.asked, "identity"), "child")
        return str(child.get("name", self.agent))

    @property
    def in_doubt(self) -> bool:
        """Whether it was sent and nobody knows what became of it: a repeat that is told so was not sent itself."""
        return self.outcome == "unknown" and self.ended is not self.asked


async def call_events(ledger: Events, call_id: str) -> list[Event]:
    """Return the events of one call, in order; none for an id nobody recorded."""
    return [event async for event in ledger.events(EventFilter(call_id=call_id))] if call_id else []


async def one_line(ledger: Ledger, call_id: str) -> CallLine | None:
    """Return one call, or None."""
    events = await call_events(ledger, call_id)
    start = next((event for event in events if event.kind in _STARTS), None)
    if start is None:
        return None
    line = line_of(start, _end_in(events))
    return replace(line, outcome=_COMPENSATED) if any(map(_took_back, events)) else line


async def run_lines(ledger: Ledger, run_id: str) -> list[CallLine]:
    """Return every call of a run, in the order in which they started, as it stands now."""
    wanted = EventFilter(run_id=run_id, limit=_EVERYTHING)
    undone = {event.call_id async for event in ledger.events(wanted) if _took_back(event)}
    lines = [line async for line in call_lines(ledger, wanted)]
    marked = [replace(line, outcome=_COMPENSATED) if line.call_id in undone else line for line in lines]
    return sorted(marked, key=lambda line: line.seq)


def _took_back(event: Event) -> bool:
    return event.kind is EventKind.CALL_COMPENSATED


async def call_lines(ledger: Events, wanted: EventFilter) -> AsyncIterator[CallLine]:
    """Yield the calls that started in what `wanted` names, each as soon as its end is read; those still running last.

    `wanted.limit` counts calls. Memory holds only calls under way or in doubt, so a whole ledger can be exported.
    """
    left = wanted.limit
    running: dict[str, Event] = {}
    async for event in ledger.events(replace(wanted, limit=_EVERYTHING, latest=False)):
        if event.kind in _ENDS and event.call_id in running:
            if event.kind is EventKind.CALL_SETTLED or not _in_doubt(event):
                yield line_of(running.pop(event.call_id), event)
        elif event.kind in _STARTS and left > 0:
            left -= 1
            if event.kind is EventKind.CALL_RECORDED:
                yield line_of(event, None)
            else:
                running[event.call_id] = event
        if left <= 0 and not running:
            return
    for start in running.values():
        events = await call_events(ledger, start.call_id)  # it may have ended outside the times asked for
        yield line_of(start, _end_in(events))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reviewer asks of calls besides: how they ended (the outcome, or the error's code), and which person had a
    part in them, as the user or owner they were made for or as one who approved. An empty text asks for nothing.
    """

    outcome: str = ""
    person: str = ""

    def is_met_by(self, line: CallLine) -> bool:
        """Tell whether this is a call that is asked for."""
        people = {line.on_behalf_of, line.owner, *line.approved_by}
        return self.outcome in {"", line.outcome, line.code} and (not self.person or self.person in people)


async def latest_lines(ledger: Ledger, wanted: EventFilter, asked: Asked = Asked()) -> list[CallLine]:
    """Return the `wanted.limit` calls that something happened to last, in the order in which they started."""
    if asked != Asked():
        found: deque[CallLine] = deque(maxlen=wanted.limit)
        async for line in call_lines(ledger, replace(wanted, limit=_EVERYTHING)):
            if asked.is_met_by(line):
                found.append(line)
        return sorted(found, key=lambda line: line.seq)
    read = 2 * wanted.limit  # a call has at most two events, but others lie between
    while True:
        events = [event async for event in ledger.events(replace(wanted, limit=read, latest=True))]
        ids = list({event.call_id: None for event in reversed(events) if event.kind in _OF_CALLS})
        if len(ids) >= wanted.limit or len(events) < read:
            break
        read *= 4
    lines = [await one_line(ledger, call_id) for call_id in ids[: wanted.limit]]
    return sorted((line for line in lines if line is not None), key=lambda line: line.seq)


async def tail(ledger: Ledger, wanted: EventFilter, clock: Clock, every_s: float = 0.5) -> AsyncIterator[Event]:
    """Yield the events after `wanted.after_seq` (0: after the present last one), for ever, as they come."""
    seq = wanted.after_seq
    if seq == 0:
        last = [event.seq async for event in ledger.events(EventFilter(limit=1, latest=True))]
        seq = last[0] if last else 0
    while True:
        async for event in ledger.events(replace(wanted, after_seq=seq)):
            seq = event.seq
            yield event
        await clock.sleep(every_s)


def as_json_line(line: CallLine) -> str:
    """Return a call as one line of JSON, bodies and all."""
    return dump(asdict(line)).decode()


def as_csv(lines: Iterable[CallLine]) -> str:
    """Return calls as CSV with a header, without bodies. No cell can be taken for a formula by a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f.name for f in fields(CallLine) if f.name not in {"asked", "ended"}]
    writer.writerow(names)
    writer.writerows([_cell(getattr(line, name)) for name in names] for line in lines)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _end_in(events: Sequence[Event]) -> Event | None:
    """Return what ended a call: what settled it, where it was in doubt."""
    return next((event for event in reversed(events) if event.kind in _ENDS), None)


def _in_doubt(event: Event) -> bool:
    return _body(event).get("outcome") == "unknown"


def line_of(start: Event, end: Event | None) -> CallLine:
    """Return the call that an event begins, or tells of as a whole, and `end` ends."""
    asked = _body(start)
    ended = asked if start.kind is EventKind.CALL_RECORDED else ({} if end is None else _body(end))
    identity, decision = _part(asked, "identity"), _part(asked, "decision")
    error, timing = _part(ended, "error"), _part(ended, "timing")
    received, at = asked.get("received_ms", start.at_ms), timing.get("ended_ms")
    return CallLine(
        seq=start.seq,
        call_id=start.call_id,
        at_ms=received,
        agent=start.agent,
        on_behalf_of=start.on_behalf_of,
        owner=identity.get("owner", ""),
        delegation=tuple(identity.get("delegation", ())),
        credential_id=identity.get("credential_id", ""),
        run_id=start.run_id,
        tool=start.tool,
        outcome=ended.get("outcome", "executing"),
        code=error.get("code", ""),
        message=_message(asked, ended),
        version=_version(_part(asked, "tool")),
        policies=tuple(decision.get("policies", ())),
        approved_by=_approved_by(asked),
        bundle=decision.get("bundle", ""),
        duration_ms=None if at is None else at - received,
        replayed_from=ended.get("replayed_from", ""),
        labels=tuple(ended.get("labels", ())),
        source=_source(_part(ended, "source")),
        asked=asked,
        ended=ended,
    )


def _approved_by(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the people whose consent a call used: to its approval, and to the grant that opened its tool."""
    facts, used = _part(asked, "facts"), used_in(asked)
    consents = [_part(facts, name) for name in ("approval", "grant")]
    return tuple({one["name"]: None for each in consents if each.get("id") in used for one in each["by"]})


def _version(tool: Mapping[str, Any]) -> str:
    """Say which version of its tool a call was about, and in which its agent was spoken with."""
    version = str(tool.get("version", ""))
    return f"{version}, spoken as {tool['spoken']}" if "spoken" in tool else version


def _message(asked: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    if "removed" in asked:
        return _REMOVED
    said = _part(ended, "error").get("message") or _part(ended, "waiting").get("message")
    return str(said or _part(asked, "decision").get("message", ""))


def _source(source: Mapping[str, Any]) -> str:
    """Say where an answer is from, in words."""
    said = [f"{source['fallback']}, because {source['because']}"] if "fallback" in source else []
    if "call" in source:
        said.append(f"the answer to {source['call']}, {source['age_ms']} ms old")
    return "; ".join(said)


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = body.get(name)
    return part if isinstance(part, Mapping) else {}


def _body(event: Event) -> Mapping[str, Any]:
    try:
        return load(event.body.encode())
    except ValueError:
        return {}
