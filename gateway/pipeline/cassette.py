"""A cassette: a run on record, whose calls are answered again as they were then. Nothing is called, nothing written.

The nth identical call of a caller is the nth on record, as when a run is begun anew; but here refusals and failures
come again too, and what is not on record is refused.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.catalog.own_tools import READ_RESULT
from gateway.codec import CodecError, digest
from gateway.identity.authenticator import Authenticator
from gateway.ledger.parts import Redact
from gateway.ledger.trace import CallLine
from gateway.model.answers import Label
from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource
from gateway.model.decision import Decision, Remedy, Ruling
from gateway.model.errors import GatewayError, RequestFault, fault_of
from gateway.model.identity import Identity
from gateway.model.operation import operation_named
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.model.request import CallRequest
from gateway.model.task import TASK_METHODS
from gateway.pipeline.kept import Kept
from gateway.pipeline.on_tape import PLAYED, OnTape
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.runner import Ended
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.validate import Validate
from gateway.workflow.runs import owner_of

__all__ = ["Player", "Tape", "differences"]

_SHOWN: Final = 20
_CRASHED: Final = "This call was under way when the recording ended, and its outcome is not known."


@dataclass(slots=True)
class _Step:
    """A recorded call, `n` as `toolgate runs show` counts. `again` says that it repeated one before it."""

    n: int
    who: str
    line: CallLine = field(repr=False)
    digests: frozenset[str]
    outcome: Outcome
    again: bool
    played: bool = False

    @property
    def told(self) -> dict[str, Any]:
        return {"step": self.n, "tool": self.line.tool, "call": self.line.call_id, "agent": self.who}


class Tape:
    """The calls of a run in their order, and what has been played of them. `redact` takes secrets out of the report.

    What asks about a task, reads on in a long answer, subscribes, or is asked of a client cannot be played; nor can
    what is not kept.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: the lines are not what a gateway writes.
    """

    def __init__(self, run_id: str, lines: Iterable[CallLine], redact: Redact) -> None:
        self.run_id = run_id
        self._redact = redact
        self._steps: list[_Step] = []
        self._alike: dict[tuple[str, str, str, bool], deque[_Step]] = {}
        self._left_out: Counter[str] = Counter()
        self._late: list[dict[str, Any]] = []
        self._strayed: list[dict[str, Any]] = []
        self._furthest: dict[str, int] = {}
        self._calls: set[str] = set()
        for n, line in enumerate(sorted(lines, key=lambda each: each.seq), 1):
            self._calls.add(line.call_id)
            self._take(n, line)

    def __len__(self) -> int:
        return sum(not step.again for step in self._steps)

    @property
    def callers(self) -> list[str]:
        """Who made the calls."""
        return list(dict.fromkeys(step.who for step in self._steps))

    @property
    def bundles(self) -> list[str]:
        """The digests of the policies that decided, in the order in which they came into force."""
        found = (_decided(step.line).get("bundle", "") for step in self._steps)
        return list(dict.fromkeys(filter(None, found)))

    def _take(self, n: int, line: CallLine) -> None:
        asked = line.asked
        method = line.tool.partition(".")[2]
        if "undoes" in asked:  # the gateway's own
            return
        is_other = method not in PLAYED and operation_named(line.tool) is not None
        if "arguments" not in asked or is_other or method in TASK_METHODS or line.tool == READ_RESULT:
            self._left_out[line.tool] += 1
            return
        who = f"{line.agent}/{line.on_behalf_of}" if line.on_behalf_of else line.agent
        digests = {asked.get("arguments_digest") or digest(asked["arguments"])}
        if "sent" in asked:  # what an agent that is held at another version sent
            digests.add(digest(asked["sent"]))
        step = _Step(n, who, line, frozenset(digests), _outcome(line), line.replayed_from in self._calls)
        self._steps.append(step)
        for each in digests:
            self._alike.setdefault((who, line.tool, each, _is_dry(line)), deque()).append(step)

    def servers(self) -> dict[str, OnTape]:
        """Return the servers of which something besides tools was asked, as the run shows them."""
        asked: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for step in self._steps:
            server, _, method = step.line.tool.partition(".")
            if method in PLAYED:
                asked.setdefault(server, []).append((method, step.line.asked["arguments"]))
        return {server: OnTape(each) for server, each in asked.items()}

    def find(self, who: str, tool: str, wanted: str, *, is_dry: bool) -> tuple[CallLine, Outcome] | None:
        """Return the call that answers this one and how, and take note of it; None where there is none left."""
        alike = self._alike.get((who, tool, wanted, is_dry))
        while alike:
            step = alike.popleft()
            if not step.played:  # under the digest of another version of its arguments
                step.played = True
                self._note_order(step)
                return step.line, step.outcome
        return None

    def _note_order(self, step: _Step) -> None:
        before = self._furthest.get(step.who, 0)
        if step.n < before:
            self._late.append({**step.told, "after": before})
        self._furthest[step.who] = max(before, step.n)

    def stray(self, who: str, tool: str, arguments: Mapping[str, Any], wanted: str) -> RequestFault:
        """Take note of a call that is not on record; return its refusal, which says how it differs."""
        said, told = self._compared(who, tool, arguments, wanted)
        shown = self._redact({"arguments": arguments})["arguments"]
        self._strayed.append({"tool": tool, "agent": who, "arguments": shown, "why": said, **told})
        text = f"Run {self.run_id} is only played back: nothing is called, and this call is not on record. {said}"
        return RequestFault(text, code="not_on_record", told=told)

    def _compared(self, who: str, tool: str, arguments: Mapping[str, Any], wanted: str) -> tuple[str, dict[str, Any]]:
        if who not in self.callers:
            return f"No call of {who} is: it was made by {', '.join(self.callers) or 'nobody'}.", {}
        alike = [step for step in self._steps if step.who == who and step.line.tool == tool]
        same = [step.n for step in alike if wanted in step.digests]
        if same:
            steps = ", ".join(map(str, same))
            return f"It was made {len(same)} times (step {steps}), and that was answered already.", {"made": same}
        if not alike:
            upcoming = next((step for step in self._steps if step.who == who and not (step.played or step.again)), None)
            then = f" Expected is step {upcoming.n}, {upcoming.line.tool}." if upcoming is not None else ""
            return f"{tool} was never called.{then}", {} if upcoming is None else {"expected": upcoming.told}
        found = [(step, differences(step.line.asked["arguments"], arguments)) for step in alike]
        nearest, other = min(found, key=lambda each: (sum(map(len, each[1].values())), each[0].played))
        parts = [f"{kind} {', '.join(paths)}" for kind, paths in other.items() if paths]
        said = "; ".join(parts) or "only in what was taken out of the record as a secret"
        return f"Nearest is step {nearest.n}, which differs: {said}.", {"nearest": {**nearest.told, **other}}

    def report(self) -> dict[str, Any]:
        """Return how what was called compares with what is on record, as JSON."""
        missing = [step.told for step in self._steps if not (step.played or step.again)]
        return {
            "run": self.run_id,
            "as_recorded": not missing and not self._strayed,
            "steps": len(self),
            "matched": sum(step.played for step in self._steps),
            "late": self._late,
            "missing": missing,
            "diverged": self._strayed,
            "left_out": dict(self._left_out),
        }


class Player:
    """Stands in the place of the runner: whoever the gateway knows is answered from the tape.

    What would have been refused before any policy was asked is on record of no run: it is refused as it was then.
    """

    def __init__(
        self,
        tape: Tape,
        door: tuple[Authenticator, Admit, Validate],
        rules: RulesInForce,
        kept: Kept,
        drawn: tuple[IdSource, Clock],
    ) -> None:
        self._tape = tape
        self._authenticator, self._admit, self._validate = door
        self._rules = rules
        self._kept = kept
        self._ids, self._clock = drawn

    async def run(self, request: CallRequest) -> Ended:
        """Answer a call as it was answered."""
        call = Call(self._ids.new("call"), request, self._clock.now_ms())
        try:
            return Ended(call, await self._play(call))
        except GatewayError as error:
            return Ended(call, Failed(error))

    async def refuse(self, request: CallRequest, error: GatewayError, identity: Identity | None = None) -> None:
        """Keep nothing of what was refused before it became a call."""

    async def _play(self, call: Call) -> Outcome:
        request = call.request
        caller = request.caller
        call.identity = await self._authenticator.identify(caller.credential, loopback=caller.loopback)
        self._admit(call)
        tool = request.operation or self._rules.current.catalog_at(request.endpoint).find(request.name)
        if tool is not None:
            call.tool = tool
        if tool is not None and tool.name == READ_RESULT:
            self._validate(call)
            return Succeeded(await self._kept.read(call))
        try:
            wanted = digest(request.arguments)
        except CodecError as error:
            told = "The arguments hold a value that JSON cannot carry exactly."
            raise RequestFault(told, detail=str(error)) from None
        name, who = request.name if tool is None else tool.name, owner_of(call.identity)
        found = self._tape.find(who, name, wanted, is_dry=request.dry_run is not None)
        if found is not None:
            call.labels = tuple(label for label in Label if label in found[0].labels)
            return found[1]
        if request.operation is None:
            call.tool = self._rules.current.catalog_at(request.endpoint).resolve(request.name)
            self._validate(call)
        raise self._tape.stray(who, name, request.arguments, wanted)


def _outcome(line: CallLine) -> Outcome:
    """Return what came of a recorded call, as its agent was told."""
    ended = line.ended
    match ended.get("outcome"):
        case "succeeded":
            return _answer(line)
        case "denied":
            return Denied(_decision(_decided(line)))
        case "waiting":
            said = ended["waiting"]
            asked = said["on"] if _decided(line).get("ruling") == Ruling.NEEDS_APPROVAL else ""
            return Waiting(said["on"], said["message"], said["retry_after_s"], approval=asked)
        case "failed" | "unknown" as how:
            fault = fault_of(str(line.code), line.message)
            return Failed(fault) if how == "failed" else Unknown(fault)
    return Unknown(fault_of("outcome_unknown", _CRASHED))


def _answer(line: CallLine) -> Outcome:
    result = line.ended.get("result")
    if isinstance(result, Mapping):
        return Succeeded(result, replayed_from=line.call_id)
    text = f"Run {line.run_id} is only played back, and what #{line.call_id} was answered is not kept."
    return Failed(RequestFault(text, code="not_on_record"))


def _decided(line: CallLine) -> Mapping[str, Any]:
    """Return how a call was decided, also one of another gateway."""
    asked = line.asked if "decision" in line.asked else line.asked.get("there", {})
    found: Mapping[str, Any] = asked.get("decision", {})
    return found


def _decision(body: Mapping[str, Any]) -> Decision:
    remedies = tuple(Remedy(one["tool"], one["arguments"]) for one in body.get("remedies", ()))
    return Decision(False, body["bundle"], tuple(body["policies"]), message=body.get("message", ""), remedies=remedies)


def _is_dry(line: CallLine) -> bool:
    asked = line.asked if "facts" in line.asked else line.asked.get("there", {})
    return bool(asked.get("facts", {}).get("dry_run", False))


def differences(recorded: Any, called: Any) -> dict[str, list[str]]:
    """Return the paths (`items[2].price`) at which two JSON values differ: `changed`, `left out` or `added`."""
    found: dict[str, list[str]] = {"changed": [], "left out": [], "added": []}
    for kind, path in _differing(recorded, called):
        if len(found[kind]) < _SHOWN:
            found[kind].append(path or "everything")
    return found


def _differing(recorded: Any, called: Any) -> Iterator[tuple[str, str]]:
    waiting = [("", recorded, called)]
    while waiting:
        path, one, other = waiting.pop()
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            at = f"{path}." if path else ""
            yield from (("left out", f"{at}{name}") for name in sorted(one.keys() - other.keys()))
            yield from (("added", f"{at}{name}") for name in sorted(other.keys() - one.keys()))
            waiting += [
                (f"{at}{name}", one[name], other[name]) for name in sorted(one.keys() & other.keys(), reverse=True)
            ]
        elif _is_list(one) and _is_list(other):
            kind, longer = ("left out", one) if len(one) > len(other) else ("added", other)
            common = min(len(one), len(other))
            yield from ((kind, f"{path}[{n}]") for n in range(common, len(longer)))
            waiting += [(f"{path}[{n}]", one[n], other[n]) for n in reversed(range(common))]
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            yield "changed", path


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
