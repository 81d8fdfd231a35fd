"""Undoing a run: its compensations, last call first, each through the pipeline like any other call (LEDGER.md §6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.ledger.moved import elsewhere, export_of
from gateway.ledger.trace import CallLine, run_lines
from gateway.ledger.undoing import Step, plan
from gateway.model.clock import Clock
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.model.identity import Credential, Identity
from gateway.model.outcome import Denied, Outcome, Succeeded, Waiting
from gateway.model.request import Caller, CallRequest, Undoing
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.runner import Runner
from gateway.resilience.owned import OwnedTasks
from gateway.store.ports import EventKind, Record, Store

__all__ = ["Report", "Rollback"]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run: `steps` as they stand now, and why it stopped before its end, if it did."""

    run: RunRef
    steps: tuple[Step, ...]
    undone: tuple[Mapping[str, Any], ...] = ()
    stopped: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return it as JSON; `complete` says that nothing of what was to be undone is left."""
        left = [step for step in self.steps if not step.undone]
        return {
            "run": self.run.id,
            "owner": self.run.owner,
            "complete": not left,
            "steps": [step.described() for step in self.steps],
            "undone": list(self.undone),
            "stopped": dict(self.stopped),
        }


class Rollback:
    """Undoes runs. One that was cut short goes on where it was when it is asked for again: nothing is undone twice."""

    def __init__(self, runner: Runner, store: Store, rules: RulesInForce, owned: OwnedTasks, clock: Clock) -> None:
        self._runner = runner
        self._store = store
        self._rules = rules
        self._owned = owned
        self._clock = clock
        self._under_way: set[str] = set()

    async def plan(self, run_id: str, after: int = 0) -> Report:
        """Return what would be undone of all but the run's first `after` calls, and what would stay.

        Raises:
            RequestFault: there is no such run.
        """
        run = await self._store.find_run(run_id)
        if run is None:
            raise RequestFault(f"There is no run {run_id!r}; list them: toolgate runs list")
        lines = await run_lines(self._store, run_id)
        return Report(run, tuple(plan(lines, self._rules.current.catalog.find, after)))

    async def roll_back(self, run_id: str, by: str, after: int = 0) -> Report:
        """Undo what can be undone, the last call first, and stop at the first that does not succeed.

        What cannot be undone at all is passed over and reported. Who asked, what for and what came of it is recorded.
        It goes on when whoever asked waits no longer.

        Raises:
            RequestFault: there is no such run, or it goes on elsewhere.
            StoreFault: it cannot be recorded; then nothing more was undone.
        """
        if run_id in self._under_way:
            raise RequestFault(f"{run_id} is being rolled back just now; ask again when that has ended.")
        self._under_way.add(run_id)
        return await self._owned.run(self._to_its_end(run_id, by, after))

    async def _to_its_end(self, run_id: str, by: str, after: int) -> Report:
        try:
            return await self._roll_back(run_id, by, after)
        finally:
            self._under_way.discard(run_id)

    async def _roll_back(self, run_id: str, by: str, after: int) -> Report:
        planned = await self.plan(run_id, after)
        export = await export_of(self._store, run_id)
        if export is not None:  # it would be taken back there once more
            raise elsewhere(run_id, export)
        await self._tell(planned, by, "rollback begun", {"after": after, **planned.described()})
        undone: list[Mapping[str, Any]] = []
        stopped: Mapping[str, Any] = {}
        for step in planned.steps:
            if step.undone or step.why:
                continue
            ended = await self._runner.run(_request(step, planned.run))
            stopped = _stopped(step, ended.call.id, ended.outcome)
            if stopped:
                break
            replayed = ended.outcome.replayed_from if isinstance(ended.outcome, Succeeded) else None
            undone.append({"call": step.line.call_id, "by": replayed or ended.call.id, "tool": step.tool})
        left = await self.plan(run_id, after)
        report = Report(left.run, left.steps, tuple(undone), stopped)
        await self._tell(report, by, "rollback ended", {"after": after, **report.described()})
        return report

    async def _tell(self, report: Report, by: str, what: str, body: Mapping[str, Any]) -> None:
        agent, _, user = report.run.owner.partition("/")
        told = {"what": what, "by": by, **body}
        record = Record("", self._clock.now_ms(), report.run.id, agent, user, "", told, EventKind.ADMIN)
        await self._store.record(record)


def _request(step: Step, run: RunRef) -> CallRequest:
    return CallRequest(
        name=step.tool,
        arguments=step.arguments,
        caller=Caller(Credential("none", ""), transport="rollback", loopback=True),
        run=run.id,
        undoes=Undoing(step.line.call_id, _identity(step.line)),
    )


def _identity(line: CallLine) -> Identity:
    """Return who made the call, as it was recorded; what the agent is today is looked up again."""
    return Identity(
        agent=line.agent,
        method="rollback",
        credential_id=line.credential_id,
        on_behalf_of=line.on_behalf_of or None,
        delegation=tuple(line.delegation),
    )


def _stopped(step: Step, call_id: str, outcome: Outcome) -> Mapping[str, Any]:
    """Return why a rollback cannot go on after this compensation, or nothing where it succeeded."""
    told = {"call": step.line.call_id, "by": call_id, "tool": step.tool}
    match outcome:
        case Succeeded(result) if result.get("isError") is not True:
            return {}
        case Succeeded(result):
            return {**told, "outcome": "failed", "why": _text(result) or "the tool answered with an error"}
        case Waiting(on, message):
            return {**told, "outcome": "waiting", "on": on, "why": message}
        case Denied(decision):
            return {**told, "outcome": "denied", "policies": list(decision.policies), "why": decision.message}
        case _:
            return {**told, "outcome": type(outcome).__name__.lower(), "why": outcome.error.message}


def _text(result: Mapping[str, Any]) -> str:
    content = result.get("content")
    texts = [each.get("text", "") for each in content if isinstance(each, Mapping)] if isinstance(content, list) else []
    return " ".join(text for text in texts if isinstance(text, str))[:1000]
