"""The steps of the past as they stood at each moment of it, rebuilt from the events of the ledger in their order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.model.facts import PriorScope, Step, StepStatus
from gateway.store.bodies import load
from gateway.store.evidence import Evidence, holds, step_from
from gateway.store.ports import Event, EventKind, StepLookup

__all__ = ["History"]

_ENDS: Final = frozenset({EventKind.CALL_FINISHED, EventKind.CALL_SETTLED, EventKind.CALL_COMPENSATED})


@dataclass(slots=True)
class _Made:
    """A call so far: its endings in order, and which call used it up. `whole` is that of one recorded in one piece."""

    first: Event
    session: str
    ends: list[Event] = field(default_factory=list)
    consumed_by: str | None = None
    whole: Mapping[str, Any] | None = None


class History:
    """Is shown every event in order, and answers what a lookup would have found at that moment.

    It remembers only the calls of `tools`: those that some policy looks back at. A read that was recorded without a
    claim, since no policy of its time looked back at it, is a step as well.
    """

    def __init__(self, tools: frozenset[str]) -> None:
        self._tools = tools
        self._made: dict[str, list[_Made]] = {}
        self._by_id: dict[str, _Made] = {}
        self._uses: dict[str, list[_Made]] = {}

    def take(self, event: Event) -> None:
        """Take note of what happened next."""
        if event.kind is EventKind.CALL_CLAIMED:
            self._claimed(event)
        elif event.kind is EventKind.CALL_RECORDED and event.tool in self._tools:
            self._recorded(event)
        elif event.kind in _ENDS:
            self._ended(event)

    def use(self, call_id: str, steps: Iterable[str]) -> None:
        """Take note that a claimed call used these steps up."""
        used = [self._by_id[one] for one in steps if one in self._by_id]
        if used:
            self._uses.setdefault(call_id, []).extend(used)
            for made in used:
                made.consumed_by = call_id

    def find(self, lookup: StepLookup, now_ms: int) -> Step | None:
        """Return the latest step that a lookup finds among those that had started by then, as it stood then."""
        for made in reversed(self._made.get(lookup.tool, ())):
            started = made.first.at_ms
            if started > now_ms or started < lookup.since_ms or _owner(made, lookup.scope) != lookup.owner:
                continue
            if holds(made.first, lookup):
                return _claimed_step(made, now_ms) if made.whole is None else _whole_step(made, made.whole)
        return None

    def _claimed(self, event: Event) -> None:
        is_step = event.tool in self._tools
        if not is_step and not self._by_id:
            return
        terms: Mapping[str, Any] = load(event.body.encode())["claim"]
        if is_step:
            self._add(_Made(event, terms["session"]))
        self.use(event.call_id, terms["consumes"])

    def _recorded(self, event: Event) -> None:
        body = load(event.body.encode())
        if "removed" in body:
            return
        was_made = body["outcome"] == "succeeded" or bool(body.get("attempts"))
        if was_made and "replayed_from" not in body:  # neither a refusal nor a repeat is a step
            self._add(_Made(event, body["session"] or "", whole=body))

    def _add(self, made: _Made) -> None:
        self._by_id[made.first.call_id] = made
        self._made.setdefault(made.first.tool, []).append(made)

    def _ended(self, event: Event) -> None:
        made, used = self._by_id.get(event.call_id), self._uses.get(event.call_id)
        if made is not None:
            made.ends.append(event)
        if used and load(event.body.encode())["ending"]["release"]:
            for step in used:
                step.consumed_by = None


def _owner(made: _Made, scope: PriorScope) -> str:
    owners = {
        PriorScope.RUN: made.first.run_id,
        PriorScope.SESSION: made.session,
        PriorScope.AGENT: made.first.agent,
        PriorScope.USER: made.first.on_behalf_of,
    }
    return owners[scope]


def _claimed_step(made: _Made, now_ms: int) -> Step:
    ends = [end for end in made.ends if end.at_ms <= now_ms]
    end = ends[-1] if ends else None
    after = None if end is None else end.hash
    return step_from(Evidence(made.first, made.first.hash, end, after, made.consumed_by, delivered=True))


def _whole_step(made: _Made, body: Mapping[str, Any]) -> Step:
    event, result = made.first, body.get("result") or {}
    succeeded = body["outcome"] == "succeeded" and result.get("isError") is not True
    return Step(
        call_id=event.call_id,
        tool=event.tool,
        agent=event.agent,
        run_id=event.run_id,
        status=StepStatus.SUCCEEDED if succeeded else StepStatus.FAILED,
        started_at_ms=body["received_ms"],
        at_ms=event.at_ms,
        arguments=body["arguments"],
        output=result.get("structuredContent") if succeeded else None,
        on_behalf_of=event.on_behalf_of or None,
        consumed_by=made.consumed_by,
        labels=tuple(body.get("labels", ())),
    )
