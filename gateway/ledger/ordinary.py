"""The text of what is told of ordinary calls, in one go: what `entries` and the store together make of them.

Ordinary is a call that was allowed by a decision which lasts, for the arguments as they were sent, and was answered.
Of any other there is more to tell, and `entries` tells it.
"""

from dataclasses import dataclass
from typing import Final

from gateway.codec import CodecError, dump
from gateway.ledger.entries import MAX_RESULT_BYTES, lasting_members
from gateway.ledger.parts import Lasting, Parts, Redacts
from gateway.model.bill import NO_BILL
from gateway.model.call import Call
from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.light import maker
from gateway.model.outcome import Outcome, Succeeded
from gateway.model.recent import Recent
from gateway.model.request import Caller
from gateway.model.tool import Tool
from gateway.store.removable import Share, Written, looks_shared

__all__ = ["Ordinary"]

_written: Final = maker(Written)
_MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the calls with one lasting decision share; nothing of it must be taken out while `mark` is the same."""

    given: DecisionInput
    decision: Decision
    identity: Identity
    tool: Tool
    mark: object
    share: Share


@dataclass(frozen=True, slots=True)
class _Place:
    """What is told of a caller, and of the run that its calls belong to, in this environment."""

    caller: Caller
    run: RunRef
    environment: str
    who: str
    where: str
    how: str


class Ordinary:
    """Writes the bodies of ordinary calls; each method returns None where a call is not one.

    Nothing is taken out of them: that there is nothing to take out is seen from their JSON, which is written once.
    """

    def __init__(self, redactor: Redacts, parts: Parts) -> None:
        self._redactor = redactor
        self._parts = parts
        self._shared: Recent[int, _Shared] = Recent(_MOST)
        self._places: Recent[int, _Place] = Recent(_MOST)

    def __len__(self) -> int:
        return len(self._shared) + len(self._places)

    def claim(self, call: Call) -> Written | None:
        """Return what `claim_body` says."""
        arguments = _arguments(call)
        shared = None if arguments is None else self._unless_secret(call, arguments)
        if arguments is None or shared is None:
            return None
        return _written(f'"received_ms":{call.received_ms}', self._asked(call, arguments), shared.share)

    def end(self, call: Call, outcome: Outcome, ended_ms: int, carried: tuple[str, ...]) -> Written | None:
        """Return what `end_body` says, and what the answer carries."""
        answer = _answer(call, outcome)
        if answer is None or self._redactor.keeps(answer) is None:
            return None
        times = f'{{"received_ms":{call.received_ms},"ended_ms":{ended_ms}}}'
        return _written(f'"outcome":"succeeded","timing":{times}', _answered(call, answer, carried))

    def record(self, call: Call, outcome: Outcome, ended_ms: int, carried: tuple[str, ...]) -> Written | None:
        """Return what `record_body` says, and what the answer carries."""
        answer = _answer(call, outcome)
        arguments = None if answer is None else _arguments(call)
        if answer is None or arguments is None:
            return None
        shared = self._unless_secret(call, arguments + answer)
        if shared is None:
            return None
        at = call.received_ms
        times = f'"received_ms":{at},"timing":{{"received_ms":{at},"ended_ms":{ended_ms}}}'
        rest = f"{self._asked(call, arguments)},{_answered(call, answer, carried)}"
        return _written(f'"outcome":"succeeded",{times}', rest, shared.share)

    def _unless_secret(self, call: Call, text: str) -> _Shared | None:
        """Return what a call shares with others, if nothing in this JSON must be taken out, or looks like a share."""
        mark = self._redactor.keeps(text)
        if mark is None or looks_shared(text):
            return None
        given = call.given
        shared = self._shared.get(id(given))
        if (
            shared is not None
            and shared.mark is mark
            and shared.decision is call.decision
            and shared.identity is call.identity
            and shared.tool is call.tool
        ):
            return shared
        return self._share(Lasting(given, call.decision, call.identity, call.tool), mark)

    def _asked(self, call: Call, arguments: str) -> str:
        facts, caller = call.facts, call.request.caller
        place = self._places.get(id(caller))
        if place is None or place.run is not facts.run or place.environment is not facts.environment:
            place = self._place(caller, facts.run, facts.environment)
        how = f'{place.how},"taint":{_json(facts.taint)}' if facts.taint else place.how
        known = f'{{"now_ms":{facts.now_ms},"run":{place.where},"step":{facts.step},{how}}}'
        return f'{place.who},"arguments":{arguments},"arguments_digest":"{call.arguments_digest}","facts":{known}'

    def _share(self, lasting: Lasting, mark: object) -> _Shared:
        share = self._parts.shared(lasting, self._redactor.record, lasting_members)
        known = _Shared(*lasting, mark, share)
        self._shared.keep(id(lasting.given), known)
        return known

    def _place(self, caller: Caller, run: RunRef, environment: str) -> _Place:
        client = {"name": caller.client.name, "version": caller.client.version}
        who = {"transport": caller.transport, "era": caller.era, "client": client}
        where = {"id": run.id, "owner": run.owner, "source": run.source, "status": run.status}
        how: dict[str, object] = {"priors": {}, "repeat_of": None, "environment": environment}
        place = _Place(
            *(caller, run, environment),
            _json({**who, "session": caller.session, "trace": caller.trace})[1:-1],
            _json(where),
            _json(how)[1:-1],
        )
        self._places.keep(id(caller), place)
        return place


def _json(value: object) -> str:
    return dump(value).decode()


def _arguments(call: Call) -> str | None:
    """Return the JSON of a call's arguments where that, with what every call has, is all there is to tell of it."""
    given = getattr(call, "given", None)
    if given is None or not given.lasting:
        return None
    request, facts = call.request, call.facts
    if (  # written out: for every call, a tuple of them would cost three times as much
        request.via
        or request.undoes
        or request.draft
        or request.promised
        or call.tool.contract
        or facts.priors
        or facts.repeat_of
        or facts.approval
        or facts.grant
        or facts.budget
        or facts.expected
        or facts.held
        or facts.confidence
        or facts.dry_run
        or facts.run.attempt != 1
        or getattr(call, "bill", NO_BILL).cost
    ):
        return None
    try:
        arguments = dump(call.arguments)
    except CodecError:
        return None
    return arguments.decode() if len(arguments) <= MAX_RESULT_BYTES else None


def _answer(call: Call, outcome: Outcome) -> str | None:
    """Return the JSON of a call's answer where that, and one attempt at it, is all there is to tell of it."""
    text = call.text
    if text is None or type(outcome) is not Succeeded or outcome.result is not call.result:
        return None
    if outcome.replayed_from is not None or call.source is not None or call.labels or len(text) > MAX_RESULT_BYTES:
        return None
    attempts = call.attempts
    return text.decode() if len(attempts) == 1 and not attempts[0].get("reason", True) else None


def _answered(call: Call, answer: str, carried: tuple[str, ...]) -> str:
    told = f'"attempts":{dump(call.attempts).decode()},"result":{answer}'
    return f'{told},"taint":{_json(carried)}' if carried else told
