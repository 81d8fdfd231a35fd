"""A run that another gateway recorded, read from its signed evidence, so that its agent can go on here.

Imported are what was called and answered, never why it was allowed: decisions, facts and costs of the other gateway
stand in the member `there`, for people to read. So today's policies here decide whether what is on record is given
to an agent again, on facts of this ledger.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import dump, parse
from gateway.ledger.moved import EXPORTED, TAKEN_BACK
from gateway.ledger.proof import NoProof, Proof, prove
from gateway.model.facts import RunRef, StepStatus
from gateway.store.bodies import load
from gateway.store.imports import IMPORTED, ImportedCall, ImportedRun
from gateway.store.ports import Event, EventFilter, EventKind
from gateway.store.runs import RunStatus

__all__ = ["Shown", "imported_run", "shown_run"]

_STARTS: Final = frozenset({EventKind.CALL_CLAIMED, EventKind.CALL_RECORDED})
_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED})
_NOT_OURS: Final = ("decision", "given", "facts", "cost")
_TERMS: Final = ("claim", "ending")
Json = Mapping[str, Any]


def imported_run(lines: Sequence[bytes], jwks: Json, by: str, now_ms: int) -> ImportedRun:
    """Return the run that a file of `toolgate runs export` holds.

    Raises:
        NoProof: it was not signed by one of these keys, or was changed; or it holds no whole run at rest.
    """
    proof, run_id = _proven(lines, jwks)
    read = _Run(run_id)
    for line in lines:
        told = parse(line).get("event")
        if told is not None and told["run_id"] == run_id:
            read.take(told, load(told["body"].encode()))
    opened = read.at_rest()
    grounds = {
        "source": proof.kid,
        "head": {"seq": proof.seq, "hash": proof.hash, "at_ms": proof.signed_ms},
        "export": read.export,
        "exported_ms": proof.made_ms,
        "file": f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}",
    }
    owner, key, source = (str(opened[name]) for name in ("owner", "key", "source"))
    return ImportedRun(RunRef(run_id, owner, source), key, read.opened_ms, now_ms, by, grounds, read.calls())


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
    shown = []
    for line in lines:
        [(kind, told)] = parse(line).items()
        if kind == "event":
            shown.append(Event(**{**told, "kind": EventKind(told["kind"]), "prev_hash": told.get("prev_hash", "")}))
        elif kind == "bundle":
            about = (0, 0, EventKind.BUNDLE_KEPT, told["digest"], "", "", "", "")
            shown.append(Event(*about, dump(told).decode(), "", ""))
    return Shown(run_id, shown)


class _Run:
    """The events of one run, in their order."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._opened: Json | None = None
        self._starts: dict[str, tuple[Json, Json]] = {}
        self._ends: dict[str, tuple[Json, Json]] = {}
        self._undone: dict[str, str] = {}  # by the call that took it back
        self._at_rest = False
        self.export = ""
        self.opened_ms = 0

    def take(self, event: Json, body: Json) -> None:
        """Take note of an event of the run."""
        kind, call_id = event["kind"], event["call_id"]
        if kind == EventKind.RUN_OPENED:
            self._opened, self.opened_ms = body, event["at_ms"]
        elif kind == EventKind.RUN_CANCELLED:
            raise NoProof(f"{self._run_id} was cancelled, and goes on nowhere")
        elif kind == EventKind.ADMIN and body.get("what") in {EXPORTED, TAKEN_BACK}:
            self.export = str(body["export"]) if body["what"] == EXPORTED else ""
        elif kind == EventKind.ADMIN and body.get("scope") == f"run:{self._run_id}":
            self._at_rest = body.get("deed") == "paused"
        elif kind in _STARTS:
            self._starts[call_id] = (event, body)
        elif kind in _ENDS:
            self._ends[call_id] = (event, body)
        elif kind == EventKind.CALL_COMPENSATED:
            self._undone[body["compensated_by"]] = call_id

    def at_rest(self) -> Json:
        """Return how the run was opened. Raises `NoProof`: it is not whole, or may have gone on meanwhile."""
        if self._opened is None or self._opened.get("status") != RunStatus.OPEN:
            raise NoProof(f"the file does not say how {self._run_id} was opened")
        if not self._at_rest:
            raise NoProof(f"{self._run_id} was not paused when it was exported, and may have gone on since")
        if not self.export:
            raise NoProof(f"{self._run_id} may still go on there; write it with: toolgate runs export {self._run_id}")
        for call_id, (start, _) in self._starts.items():
            if start["kind"] == EventKind.CALL_CLAIMED and self._status(call_id) in _OPEN:
                raise NoProof(f"call {call_id} is under way or in doubt; it has to be settled where it was made")
        return self._opened

    def calls(self) -> list[ImportedCall]:
        """Return the calls, as they are to be put on record here."""
        made = {call_id for call_id in self._starts if self._is_made(call_id)}
        return [self._call(call_id, made) for call_id in self._starts]

    def _status(self, call_id: str) -> str:
        ended = self._ends.get(call_id)
        return StepStatus.EXECUTING if ended is None else str(ended[1]["ending"]["status"])

    def _is_made(self, call_id: str) -> bool:
        is_claimed = self._starts[call_id][0]["kind"] == EventKind.CALL_CLAIMED
        return is_claimed and self._status(call_id) == StepStatus.SUCCEEDED

    def _call(self, call_id: str, made: set[str]) -> ImportedCall:
        start, asked = self._starts[call_id]
        about = start["agent"], start["on_behalf_of"], start["tool"]
        ended = self._ends.get(call_id)
        if ended is None or call_id not in made:
            whole = asked if ended is None else {**asked, **ended[1]}
            return ImportedCall(call_id, start["at_ms"], *about, _ours(start, whole))
        end, answer = ended
        terms = asked["claim"]
        return ImportedCall(
            call_id,
            start["at_ms"],
            *about,
            _ours(start, asked),
            claimed=True,
            ended=_ours(end, answer),
            ended_ms=end["at_ms"],
            arguments_digest=terms["arguments_digest"],
            step_key=terms["step_key"],
            consumes=tuple(one for one in terms["consumes"] if one in made),
            compensates=_if_made(self._undone.get(call_id, ""), made),
        )


_OPEN: Final = frozenset({StepStatus.EXECUTING, StepStatus.UNKNOWN})


def _if_made(call_id: str, made: set[str]) -> str:
    return call_id if call_id in made else ""


def _ours(event: Json, body: Json) -> dict[str, Any]:
    """Return a body with what the other gateway thought of it put aside."""
    kept = {name: value for name, value in body.items() if name not in _NOT_OURS and name not in _TERMS}
    there = {name: body[name] for name in _NOT_OURS if name in body}
    before = {"before": body[IMPORTED]} if IMPORTED in body else {}
    mark = {"seq": event["seq"], "hash": event["hash"], **before}
    return {**kept, **({"there": there} if there else {}), IMPORTED: mark}
