"""Stage 5: collect what already happened, as facts for the decision."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from gateway.budget.budgets import Budgets
from gateway.ledger.entries import facts_from
from gateway.ledger.keys import NO_STEP, StepKey, is_plain_read, new_step, next_step
from gateway.ledger.recollection import Recollection, Recollections
from gateway.model.bill import NO_BILL, Left
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.facts import Expected, Facts, PriorQuery, PriorScope, RunRef, Step, StepStatus
from gateway.model.light import maker
from gateway.model.tool import Tool
from gateway.pipeline.consent import Consents
from gateway.pipeline.holding import held_by
from gateway.pipeline.joining import Joining
from gateway.pipeline.looping import Looping
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.pipeline.stages import Step as Taken
from gateway.pipeline.tainting import Tainting
from gateway.policy import PHASE
from gateway.store.budgets import BudgetStore
from gateway.store.facts import FactStore
from gateway.store.ports import Ledger, Recorded, StepLookup
from gateway.workflow.runs import Runs, nobody_joins, owner_of

__all__ = ["Gather", "Past", "lookup_for"]


@dataclass(frozen=True, slots=True)
class Past:
    """Where facts come from: what was called before, what people said, what was used up, read, and found out."""

    ledger: Ledger
    consents: Consents
    budgets: BudgetStore
    tainting: Tainting
    recollections: Recollections
    facts: FactStore
    looping: Looping


_CONFIDENCE: Final = "io.toolgate/confidence"
_SURE: Final = 10_000
_facts: Final = maker(Facts)


class Gather:
    """Sets `call.facts`, `call.step_key`, `call.bill` and `call.bundle`; and `call.recalled`, the recorded read that
    answers the call, where there is one.

    A repeat of a recorded call is decided on the facts recorded with the original, under today's policies: what was
    consumed or has grown stale since must not turn a recorded answer into a refusal. So is what is asked of a task.
    """

    def __init__(self, rules: RulesInForce, runs: Runs, past: Past, clock: Clock, environment: str) -> None:
        self._rules = rules
        self._runs = runs
        self._ledger = past.ledger
        self._consents = past.consents
        self._budgets = past.budgets
        self._tainting = past.tainting
        self._recollections = past.recollections
        self._facts = past.facts
        self._looping = past.looping
        self._clock = clock
        self._environment = environment
        self._plain: tuple[Rules, dict[str, bool]] = rules.current, {}
        self._joining = Joining(rules, clock, environment)

    def __call__(self, call: Call) -> Taken:
        rules = self._rules.current
        call.bundle = rules.bundle
        return None if self._took_short_way(call, rules) else self._gather(call, rules)

    def _took_short_way(self, call: Call, rules: Rules) -> bool:
        """Gather the facts of a plain call about which all is remembered that matters: nothing to wait for."""
        request, tool = call.request, call.tool
        if self._plain[0] is not rules:
            self._plain = rules, {}
        is_plain = self._plain[1].get(tool.name)
        if is_plain is None:
            is_plain = self._plain[1][tool.name] = _is_plain(rules, tool)
        if not is_plain or request.task is not None or request.promised is not None or request.dry_run is not None:
            return False
        now, identity = self._clock.now_ms(), call.identity
        run = self._runs.here(identity, request, now)
        taint = None if run is None else self._tainting.known(identity, run)
        if run is None or taint is None:
            return False
        step = NO_STEP if is_plain_read(tool, request) else new_step(run, call, self._runs.is_new)
        if step is None:
            return False
        bill, bundle = rules.budgets.bill(call, run.id, now), rules.bundle
        if bill.charges and bundle.reads_budget:
            return False
        call.bill = bill
        environment = rules.environments.get(identity.agent, self._environment)
        confidence = _confidence(request.meta) if bundle.reads_confidence else None
        call.step_key, steps = step.key, self._runs.steps(run.id)
        call.facts = _facts(now, run, steps, {}, None, environment, None, None, None, taint, None, {}, confidence)
        self._looping.check(call, run.id)
        return True

    async def _gather(self, call: Call, rules: Rules) -> None:
        about = call.request.task
        if about is not None:
            call.facts, call.bill, call.step_key = about.facts, NO_BILL, None
            return
        is_dry = call.request.dry_run is not None
        run = await self._run(call, rules.workflow_keys)
        now = self._clock.now_ms()
        call.bill = rules.budgets.bill(call, run.id, now)
        # Before the step is looked for: where its twin uses them up between the two looks, the call repeats the twin.
        queries = call.bundle.priors_for(call.tool.name)
        priors = await self._priors(queries, call, run, now) if queries else {}
        step = NO_STEP
        if not is_plain_read(call.tool, call.request):
            step = await next_step(self._ledger, run, call, self._runs.is_new)
        call.step_key = step.key
        repeats, expected = _repeated(step, call), None
        if run.attempt > 1 and not is_dry:  # a dry run repeats nothing
            repeats, expected = await self._recollected(call, run, step, repeats)
        known = None if repeats is None else _known(repeats, call)
        environment = rules.environments.get(call.identity.agent, self._environment)
        if repeats is not None and known is not None:
            call.facts = replace(
                facts_from(known), run=run, repeat_of=repeats.call_id, environment=environment, dry_run=is_dry
            )
            return
        taint = self._tainting.known(call.identity, run)
        facts = _facts(
            now_ms=now,
            run=run,
            step=self._runs.steps(run.id),
            priors=priors,
            environment=environment,
            expected=expected,
            budget=await self._left(call) if call.bill.charges and call.bundle.reads_budget else None,
            taint=await self._tainting.seen(call.identity, run) if taint is None else taint,
            held=await held_by(self._facts, rules, call, run.id, now) if rules.bundle.fact_shape.fields else {},
            confidence=_confidence(call.request.meta) if call.bundle.reads_confidence else None,
            dry_run=is_dry,
        )
        call.facts = await self._consents.added(call, facts) if rules.people else facts
        self._looping.check(call, run.id)

    async def _left(self, call: Call) -> Left:
        counters = await self._budgets.budget_counters([charge.key for charge in call.bill.charges])
        return Budgets.left(call.bill, counters)

    def _run(self, call: Call, keys: Mapping[str, tuple[str, str]]) -> Awaitable[RunRef]:
        request = call.request
        if request.undoes is not None:  # whatever became of the run, what it did can be undone
            return self._runs.of(request.run or "")
        if request.promised is not None:
            return self._promised(request.promised.run)
        if request.repeats is not None:
            return self._runs.going_on(request.run or "")
        key = self._workflow_key(call, keys)
        joins = nobody_joins if request.run is None else partial(self._joining.may, call)
        return self._runs.resolve(call.identity, request, key, joins)

    async def _promised(self, kept: RunRef) -> RunRef:
        run = await self._runs.going_on(kept.id)
        return replace(run, source=kept.source, attempt=kept.attempt, since=kept.since)

    async def _recollected(
        self, call: Call, run: RunRef, step: StepKey, repeats: Recorded | None
    ) -> tuple[Recorded | None, Expected | None]:
        """Find what a call repeats in a run that was begun anew, or else what it makes in the place of what."""
        if self._recollections.is_apart(call.tool.name):
            return repeats, None
        recollection = await self._recollections.of(run, owner_of(call.identity))
        before = await self._recollections.begun_with(recollection, call)
        if before is not None:
            call.recalled = before
            return before, None
        if repeats is not None:
            recollection.repeated(repeats.call_id, call.id)
        elif step.key is None:
            repeats = await self._recalled(call, recollection)
        return repeats, None if repeats is not None else recollection.expected()

    async def _recalled(self, call: Call, recollection: Recollection) -> Recorded | None:
        """Return the recorded read that answers this one; one whose answer was not kept whole is made again."""
        call_id = recollection.recalled(call.tool.name, call.arguments_digest, call.id)
        if not call_id:
            return None
        recorded = await self._recollections.call(call_id)
        if recorded is not None:
            call.recalled = recorded
        return recorded

    def _workflow_key(self, call: Call, keys: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
        if call.tool.name == PHASE:
            return (call.arguments["workflow"], call.arguments["key"]) if "key" in call.arguments else None
        named = keys.get(call.tool.name)
        if named is None:
            return None
        value = _scalar(call.arguments, named[1])
        return None if value is None else (named[0], str(value))

    async def _priors(self, queries: Sequence[PriorQuery], call: Call, run: RunRef, now: int) -> Mapping[str, Step]:
        wanted = [(query, lookup) for query in queries if (lookup := lookup_for(query, call, run, now)) is not None]
        steps = await self._ledger.steps([lookup for _, lookup in wanted])
        return {query.name: step for (query, _), step in zip(wanted, steps, strict=True) if step is not None}


def _is_plain(rules: Rules, tool: Tool) -> bool:
    """Tell whether nothing matters to calls of a tool but the run they are made in, which none of them names."""
    asked = rules.people or rules.bundle.fact_shape.fields or rules.bundle.priors_for(tool.name)
    return not asked and tool.name != PHASE and tool.name not in rules.workflow_keys


def _repeated(step: StepKey, call: Call) -> Recorded | None:
    """Return the recorded call that answers this one, if it does."""
    held = step.repeats
    if held is None or held.status is StepStatus.FAILED or held.arguments_digest != call.arguments_digest:
        return None
    return held


def _known(repeats: Recorded, call: Call) -> Mapping[str, Any] | None:
    """Return what holds the facts recorded with the original; None where they were removed, in time, or are not ours.

    Those of another gateway count where its steps do.
    """
    body = repeats.claim_body
    if "facts" not in body and call.bundle.options.imported:
        body = body.get("there", {})
    return body if "facts" in body else None


def lookup_for(query: PriorQuery, call: Call, run: RunRef, now_ms: int) -> StepLookup | None:
    """Turn a precondition into a ledger lookup, or None where this call has nothing to bind it with."""
    owner = _owner(query.scope, call, run)
    values = []
    for theirs, ours in query.bindings:
        value = _scalar(call.arguments, ours)
        if value is None:
            return None
        values.append((theirs, value))
    if not owner:
        return None
    since = now_ms - query.within_ms if query.within_ms is not None else 0
    return StepLookup(
        tool=query.tool, scope=query.scope, owner=owner, values=tuple(values), since_ms=since, imported=query.imported
    )


def _owner(scope: PriorScope, call: Call, run: RunRef) -> str:
    owners = {
        PriorScope.RUN: run.id,
        PriorScope.SESSION: call.request.caller.session,
        PriorScope.AGENT: call.identity.agent,
        PriorScope.USER: call.identity.on_behalf_of,
    }
    return owners[scope] or ""


def _scalar(arguments: Any, path: str) -> str | int | float | bool | None:
    """Return the JSON scalar at a dotted path, or None for anything else."""
    node = arguments
    for part in path.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part)
    return node if isinstance(node, str | int | float | bool) else None


def _confidence(meta: Mapping[str, Any]) -> str | None:
    """Return how sure the agent says it is, None where it says nothing; what is no number from 0 to 1 is not at all."""
    if _CONFIDENCE not in meta:
        return None
    said = meta[_CONFIDENCE]
    is_sure = type(said) in {int, float} and 0 <= said <= 1
    whole, rest = divmod(int(said * _SURE), _SURE) if is_sure else (0, 0)  # rounded down: never surer than said
    return f"{whole}.{rest:04d}"
