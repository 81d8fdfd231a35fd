"""A run that another gateway recorded, read from its signed evidence, so that its agent can go on here.

Imported are what was called and answered, never why it was allowed: decisions, facts and costs of the other gateway
stand in the member `there`, for people to read. So today's policies here decide whether what is on record is given
to an agent again, on facts of this ledger.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.codec import dump, parse
from gateway.ledger.forking import Origin, origin_in
from gateway.ledger.moved import EXPORTED, TAKEN_BACK
from gateway.ledger.proof import NoProof, Proof, prove
from gateway.ledger.trace import CallLine, line_of
from gateway.model.facts import RunRef, StepStatus
from gateway.store.bodies import load
from gateway.store.imports import FIRST, IMPORTED, ImportedCall, ImportedFork, ImportedRun
from gateway.store.ports import Event, EventFilter, EventKind
from gateway.store.removable import SHARED
from gateway.store.runs import RunStatus

__all__ = ["Shown", "imported_run", "shown_run"]

_STARTS: Final = frozenset({EventKind.CALL_CLAIMED, EventKind.CALL_RECORDED})
_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED})
_NOT_OURS: Final = ("decision", "given", "facts", "cost")
_TERMS: Final = ("claim", "ending")
_LATEST_MS: Final = 253_402_300_799_999
Json = Mapping[str, Any]


def imported_run(lines: Sequence[bytes], jwks: Json, here: str, by: str, now_ms: int) -> ImportedRun:
    """Return the run that a file of `toolgate runs export` holds, for the gateway whose key is `here`.

    Raises:
        NoProof: it was not signed by one of these keys, or was changed; it holds no whole run at rest; or it is for
            another gateway.
    """
    proof, run_id = _proven(lines, jwks)
    read = _Run(run_id)
    try:
        for event in _shown(lines):
            read.take(event, load(event.body.encode()))
        opened, calls, begins = read.at_rest(), read.calls(), read.begins()
        owner, key, source = (str(opened[name]) for name in ("owner", "key", "source"))
    except (LookupError, TypeError, AttributeError) as error:  # signed, but not by a gateway that this one understands
        raise NoProof(f"{run_id} cannot be read by this version of the gateway ({error!r})") from None
    if read.receiver not in {"", here}:
        raise NoProof(f"{run_id} was exported for the gateway with the key {read.receiver}, and the key here is {here}")
    grounds = {
        "source": proof.kid,
        "head": {"seq": proof.seq, "hash": proof.hash, "at_ms": proof.signed_ms},
        "export": read.export,
        "exported_ms": proof.made_ms,
        "file": f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}",
    }
    return ImportedRun(RunRef(run_id, owner, source), key, read.opened_ms, now_ms, by, grounds, calls, begins)


def _proven(lines: Sequence[bytes], jwks: Json) -> tuple[Proof, str]:
    proof = prove(lines, jwks)
    if proof.asked.keys() != {"run_id", "made_ms"}:
        raise NoProof("this is evidence of something else than one run; write one with: toolgate runs export RUN")
    return proof, str(proof.asked["run_id"])


@dataclass(frozen=True, slots=True)
class Shown:
    """The events that a file shows of a run, with the policies that decided: to be read like a ledger."""

    run_id: str
    shown: Sequence[Event] = field(repr=False)

    async def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        """Yield the events of a run or a call, or all, in order."""
        for event in self.shown:
            if wanted.run_id in {"", event.run_id} and wanted.call_id in {"", event.call_id}:
                yield event


def shown_run(lines: Sequence[bytes], jwks: Json) -> Shown:
    """Return what a file of `toolgate runs export` shows of its run.

    Raises:
        NoProof: it was not signed by one of these keys, or was changed.
    """
    _, run_id = _proven(lines, jwks)
    return Shown(run_id, [*_shown(lines)])


def _shown(lines: Sequence[bytes]) -> Iterator[Event]:
    """Yield the events in a file that was proven, its bundles as the events that kept them."""
    for line in lines:
        [(kind, told)] = parse(line).items()
        if kind == "event":
            yield _event(told)
        elif kind == "bundle":
            about = (0, 0, EventKind.BUNDLE_KEPT, told["digest"], "", "", "", "")
            yield Event(*about, dump(told).decode(), "", "")


def _event(told: Json) -> Event:
    """Return an event in a file that was proven. Raises `NoProof`: it is not told of as events are."""
    at_ms, kind = told["at_ms"], told["kind"]
    texts = (kind, *(told[name] for name in ("call_id", "run_id", "agent", "on_behalf_of", "tool", "body", "hash")))
    is_when = type(at_ms) is int and 0 <= at_ms <= _LATEST_MS
    if not (is_when and all(isinstance(text, str) for text in texts) and kind in set(EventKind)):
        raise NoProof(f"event {told['seq']} is not told of as events are")
    return Event(**{**told, "kind": EventKind(kind), "prev_hash": told.get("prev_hash", "")})


class _Run:
    """The events of one run, in their order, and of the calls of others that it rests on."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._opened: Json | None = None
        self._starts: dict[str, tuple[Event, Json]] = {}
        self._ends: dict[str, tuple[Event, Json]] = {}
        self._undone: dict[str, str] = {}  # by the call that took it back
        self._at_rest = False
        self._forked: tuple[Origin, int] | None = None
        self.export = self.receiver = ""
        self.opened_ms = 0

    def take(self, event: Event, body: Json) -> None:
        """Take note of an event of the run, or of a call that it rests on."""
        kind, call_id = event.kind, event.call_id
        if kind in _STARTS:
            self._starts[call_id] = (event, body)
        elif kind in _ENDS:
            self._ends[call_id] = (event, body)
        elif kind == EventKind.CALL_COMPENSATED:
            self._undone[body["compensated_by"]] = call_id
        elif event.run_id == self._run_id:
            self._take_deed(event, body)

    def _take_deed(self, event: Event, body: Json) -> None:
        kind, origin = event.kind, origin_in(event)
        if kind == EventKind.RUN_OPENED:
            self._opened, self.opened_ms = body, event.at_ms
        elif origin is not None:
            self._forked = origin, body["at"]
        elif kind == EventKind.RUN_CANCELLED:
            raise NoProof(f"{self._run_id} was cancelled, and goes on nowhere")
        elif kind == EventKind.ADMIN and body.get("what") in {EXPORTED, TAKEN_BACK}:
            self.export = str(body["export"]) if body["what"] == EXPORTED else ""
            self.receiver = str(body.get("for", ""))
        elif kind == EventKind.ADMIN and body.get("scope") == f"run:{self._run_id}":
            self._at_rest = body.get("deed") == "paused"

    def at_rest(self) -> Json:
        """Return how the run was opened. Raises `NoProof`: it is not whole, or may have gone on meanwhile."""
        told = self._opened or {}
        named = all(isinstance(told.get(name), str) for name in ("owner", "key", "source"))
        if self._opened is None or not named or told.get("status") != RunStatus.OPEN:
            raise NoProof(f"the file does not say how {self._run_id} was opened")
        if not self._at_rest:
            raise NoProof(f"{self._run_id} was not paused when it was exported, and may have gone on since")
        if not self.export:
            raise NoProof(f"{self._run_id} may still go on there; write it with: toolgate runs export {self._run_id}")
        for call_id in self._own():
            if self._starts[call_id][0].kind == EventKind.CALL_CLAIMED and self._status(call_id) in _OPEN:
                raise NoProof(f"call {call_id} is under way or in doubt; it has to be settled where it was made")
        return self._opened

    def calls(self) -> list[ImportedCall]:
        """Return the calls, as they are to be put on record here."""
        own = self._own()
        made = {call_id for call_id in own if self._is_made(call_id)}
        return [self._call(call_id, made) for call_id in own]

    def begins(self) -> ImportedFork | None:
        """Return with which calls of another run this one begins, or None where it is no fork.

        What was answered from the record there is that record. What was taken back since answers nothing any more.
        """
        if self._forked is None:
            return None
        origin, at = self._forked
        if not (isinstance(origin.run, str) and type(origin.until_seq) is type(at) is int):
            raise TypeError(f"{self._run_id} does not say where it begins")
        over = {*self._undone.values()}
        first = [one for one in self._first(origin) if one not in over and self._starts[one][0].run_id != self._run_id]
        made = {call_id for call_id in first if self._is_made(call_id)}
        return ImportedFork(origin.run, at, [_as_first(self._call(call_id, made)) for call_id in first])

    def _own(self) -> list[str]:
        return [call_id for call_id, (start, _) in self._starts.items() if start.run_id == self._run_id]

    def _first(self, origin: Origin) -> dict[str, None]:
        shown = [
            (call_id, body)
            for call_id, (start, body) in self._starts.items()
            if start.run_id == origin.run and start.seq <= origin.until_seq
        ]
        # What was imported there could name a call of anybody's; it has an answer of its own.
        answered = ((call_id, "" if IMPORTED in body else body.get("replayed_from", "")) for call_id, body in shown)
        return dict.fromkeys(by if by in self._starts else call_id for call_id, by in answered)

    def _status(self, call_id: str) -> str:
        ended = self._ends.get(call_id)
        return StepStatus.EXECUTING if ended is None else str(ended[1]["ending"]["status"])

    def _is_made(self, call_id: str) -> bool:
        is_claimed = self._starts[call_id][0].kind == EventKind.CALL_CLAIMED
        return is_claimed and self._status(call_id) == StepStatus.SUCCEEDED

    def _call(self, call_id: str, made: set[str]) -> ImportedCall:
        start, asked = self._starts[call_id]
        about = start.agent, start.on_behalf_of, start.tool
        ended = self._ends.get(call_id)
        _check_showable(line_of(start, None if ended is None else ended[0]))
        digest = asked.get("arguments_digest", "")
        if not isinstance(digest, str):
            raise TypeError(f"call {call_id} is not told of as calls are")
        if ended is None or call_id not in made:
            whole = asked if ended is None else {**asked, **ended[1]}
            digest = digest or asked.get("claim", {}).get("arguments_digest", "")
            return ImportedCall(call_id, start.at_ms, *about, _ours(start, whole), arguments_digest=digest)
        end, answer = ended
        terms = asked["claim"]
        key = terms["step_key"]
        named = (terms["arguments_digest"], "" if key is None else key, *terms["consumes"])
        if not all(isinstance(each, str) for each in named):
            raise TypeError(f"call {call_id} is not told of as calls are")
        return ImportedCall(
            call_id,
            start.at_ms,
            *about,
            _ours(start, asked),
            claimed=True,
            ended=_ours(end, answer),
            ended_ms=end.at_ms,
            arguments_digest=terms["arguments_digest"],
            step_key=terms["step_key"],
            consumes=tuple(one for one in terms["consumes"] if one in made),
            compensates=_if_made(self._undone.get(call_id, ""), made),
        )


_OPEN: Final = frozenset({StepStatus.EXECUTING, StepStatus.UNKNOWN})


def _check_showable(line: CallLine) -> None:
    """Let a call in that commands can show here. Raises `TypeError`: it is not what a gateway writes."""
    told = (line.outcome, line.code, line.message, *line.policies, *line.labels)
    words = all(isinstance(each, str) for each in told)
    is_when = type(line.at_ms) is int and 0 <= line.at_ms <= _LATEST_MS
    if not (words and is_when and isinstance(line.ended.get("attempts", []), list)):
        raise TypeError(f"call {line.call_id} is not told of as calls are")


def _as_first(call: ImportedCall) -> ImportedCall:
    """Return a call that a fork begins with, as it is to be put on record."""
    return replace(call, asked={**call.asked, IMPORTED: {**call.asked[IMPORTED], FIRST: True}}, consumes=())


def _if_made(call_id: str, made: set[str]) -> str:
    return call_id if call_id in made else ""


def _ours(event: Event, body: Json) -> dict[str, Any]:
    """Return a body with what the other gateway thought of it put aside.

    Raises `TypeError`: it hides what would be taken for this gateway's own once it is written here.
    """
    if SHARED in body:
        raise TypeError(f"event {event.seq} is not told of as events are")
    kept = {name: value for name, value in body.items() if name not in _NOT_OURS and name not in _TERMS}
    there = {name: body[name] for name in _NOT_OURS if name in body}
    before = {"before": body[IMPORTED]} if IMPORTED in body else {}
    mark = {"seq": event.seq, "hash": event.hash, **before}
    return {**kept, **({"there": there} if there else {}), IMPORTED: mark}
