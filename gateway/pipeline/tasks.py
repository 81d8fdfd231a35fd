"""Calls that their servers carry out as MCP tasks: begun, followed to their recorded end, and told of.

Such a call is claimed and stays open until the task ends, also over restarts of the gateway; its result is then
checked, redacted and recorded like any other. A task has the gateway's own id, which opens for its principal only.
What is asked of a task is decided as the call that became it, under the policies of today.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.ledger.entries import Redact
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.decision import Ruling
from gateway.model.errors import (
    ConnectorFault,
    GatewayError,
    LimitFault,
    OutcomeUnknown,
    RequestFault,
    StoreFault,
    fault_of,
)
from gateway.model.identity import Identity, principal_of
from gateway.model.outcome import Failed, Outcome, Succeeded, Waiting
from gateway.model.task import GET_TASK, TASK_RESULT, Begun
from gateway.model.tool import Effect
from gateway.pause.pauses import Pauses
from gateway.pipeline.polling import Held, Polling, is_unknown, wanted_in
from gateway.pipeline.recalling import call_of, outcome_of
from gateway.pipeline.related import related
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.sending import behalf_of, task_id_of
from gateway.pipeline.task_states import KEPT_MS, Fresh, as_rejected, ended_as, is_of, state_in, times
from gateway.policy import decide, decision_input
from gateway.resilience.owned import OwnedTasks
from gateway.store.ports import EventKind, Ledger, Record, Recorded
from gateway.store.tasks import TaskRecord, TaskStore
from gateway.task.forms import LEGACY, MODERN, OVER, Form, broken, form_of, is_only_task, may_be_task, translated

__all__ = ["Shelter", "Tasks"]

_LOG = logging.getLogger(__name__)
_LONGEST_MS: Final = 7 * 24 * 3600 * 1000
_GRACE_MS: Final = 60 * 1000
_MOST_OPEN: Final = 1000  # of one principal: one more call is not carried out as a task
_MOST_LISTED: Final = 1000
_SWEEP_S: Final = 3600.0
_LONGEST_WAIT_S: Final = 60.0
Told = Callable[[Held], None]
Conclude = Callable[[Call, Mapping[str, Any] | GatewayError], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Shelter:
    """What tasks outlive the process with, and go by."""

    store: TaskStore
    ledger: Ledger
    rules: RulesInForce
    clock: Clock
    redact: Redact
    owned: OwnedTasks
    pauses: Pauses


class Tasks:
    """The tasks of one gateway. `concluded_by` has to be told who puts the outcome of a call on record."""

    def __init__(self, shelter: Shelter, polling: Polling) -> None:
        self._store = shelter.store
        self._ledger = shelter.ledger
        self._rules = shelter.rules
        self._clock = shelter.clock
        self._redact = shelter.redact
        self._owned = shelter.owned
        self._pauses = shelter.pauses
        self._polling = polling
        self._open: dict[str, Held] = {}
        self._fresh = Fresh()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._conclude: Conclude
        self.told: Told = lambda held: None
        """Hears of every task that stands otherwise than before, and never waits."""

    def __len__(self) -> int:
        return len(self._open)

    def concluded_by(self, conclude: Conclude) -> None:
        """Have the outcomes of calls recorded by `conclude`, given the answer of their tool or why there is none."""
        self._conclude = conclude

    # Beginning

    def form_for(self, call: Call) -> str:
        """Return in which form its server may make a task of a call, or an empty text.

        Where people can be asked, every call may be wished for as a task, also of servers and tools that have none.
        """
        if not ((request := call.request).more or request.back.declares or request.promised):  # as nearly every one
            return ""
        spoken = self._polling.spoken_for(call)
        if request.promised is not None:
            return spoken.name if spoken is not None and is_only_task(call.tool.definition) else ""
        if "task" in request.more and self.asks_people and (spoken is None or not may_be_task(call.tool.definition)):
            spoken = MODERN  # it is over as it begins
        return spoken.name if spoken is not None and self.has_room(call) else ""

    @property
    def asks_people(self) -> bool:
        """Whether there is anybody for whom a call could wait."""
        return bool(self._rules.current.people)

    def has_room(self, call: Call) -> bool:
        """Tell whether one more call of its principal may become a task."""
        owner = principal_of(call.identity.itself)
        return sum(held.record.owner == owner for held in self._open.values()) < _MOST_OPEN

    async def begin(self, call: Call) -> Waiting | None:
        """Keep the task that a claimed call has become; None where it was answered otherwise.

        A client of 2025-11-25 that asked for a task gets one whatever its modern server made of the call: one that was
        answered at once is over as it begins.

        Raises:
            OutcomeUnknown: it has become one, and cannot be kept.
        """
        spoken, form = form_of(call.as_task), wanted_in(call) or LEGACY
        task = spoken.task_in(call.result)
        if task is not None:
            held = await self._begun_as(call, spoken, form, translated(task, spoken, form), task["taskId"])
            self._follow(held)
            made = form.renamed(call.result, held.record.id) if spoken is form else form.made_of(held.state)
            return _waiting(held, related(made, held.record.id))
        if spoken is form or form is MODERN:
            return None
        at_once = {"status": "working", **times(self._clock.now_ms()), LEGACY.ttl: KEPT_MS}
        held = await self._begun_as(call, spoken, form, at_once, "")
        await self._end(held, {**held.state, "status": ended_as(call.raw)}, call.raw)
        return _waiting(held, form.made_of(held.state))

    async def _begun_as(self, call: Call, spoken: Form, form: Form, task: Mapping[str, Any], upstream: str) -> Held:
        """Put on record that a call has become a task, and hold it."""
        task_id, now = task_id_of(call.id), self._clock.now_ms()
        body = {
            "form": form.name,
            **({} if spoken is form else {"spoken": spoken.name}),
            "server": call.tool.server,
            "tool": call.tool.name,
            "upstream": upstream,
            "endpoint": call.request.endpoint,
            "personal": call.identity.method == "jwt",
        }
        state = state_in(task, task_id)
        until_ms = now + form.lives_ms(task, _LONGEST_MS) + _GRACE_MS
        owner = principal_of(call.identity.itself)
        record = TaskRecord(task_id, call.id, owner, True, until_ms, self._body(body, state))
        held = Held(record, state, call.answered_later(), self._polling.way(call), behalf_of(call))
        promised = call.request.promised
        try:
            if promised is not None:
                return await self._goes_on(self._open[promised.task_id], held)
            await self.keep(held, {"upstream": self._redact(upstream)})
        except GatewayError as error:
            said = f"{call.tool.name} was sent and goes on, but nobody can follow it (#{call.id})."
            raise OutcomeUnknown(said, detail=error.detail) from error
        return held

    async def keep(self, held: Held, told: Mapping[str, Any]) -> None:
        """Hold a task that a call has become, and put it on record. Raises `StoreFault`."""
        call, task_id = held.call, held.record.id
        identity, run = call.identity, call.facts.run.id
        about = call.id, self._clock.now_ms(), run, identity.agent, identity.on_behalf_of or "", call.tool.name
        told = {"task": task_id, **told, "status": held.state["status"]}
        await self._store.begin_task(held.record, Record(*about, told, EventKind.TASK_BEGUN))
        self._open[task_id] = held

    async def _goes_on(self, parked: Held, begun: Held) -> Held:
        """Have a task for which people were asked go on as the one that its server has made of the call meanwhile."""
        kept = {"approval": parked.record.body["approval"], "by": begun.call.id}
        parked.call, parked.way, parked.behalf = begun.call, begun.way, begun.behalf
        parked.state = {**begun.state, "taskId": parked.record.id}
        body = self._body({**begun.record.body, **kept}, parked.state)
        parked.record = replace(parked.record, until_ms=begun.record.until_ms, body=body)
        await self._store.save_task(parked.record, self._clock.now_ms())
        return parked

    def waiting(self) -> list[Held]:
        """Return the open tasks whose calls wait for people."""
        return [held for held in self._open.values() if held.awaits]

    async def again(self, call: Call, recorded: Recorded) -> Waiting | None:
        """Return the task that a repeated call has become already, for a client that can follow it; else None."""
        known = recorded.claim_body.get("task", task_id_of(recorded.call_id))
        task = await self._store.find_task(known) if call.as_task else None
        if task is None or form_of(task.body["form"]) is not wanted_in(call):
            return None
        if not (task.is_open or form_of(task.body["form"]) is LEGACY):
            return None
        held = self._open.get(task.id)
        state = held.state if held is not None else task.body["state"]
        form = form_of(task.body["form"])
        return Waiting(task.id, _RUNS, form.pause_s(state), answer=form.made_of(state))

    # Finding

    async def find(self, task_id: str, identity: Identity, endpoint: str, form: Form) -> Begun | None:
        """Return what a task of this principal is about, or None where it has none of that id here."""
        held = await self.held(task_id)
        if held is None or not is_of(held.record, identity, endpoint, form):
            return None
        return self._begun(held)

    async def listed(self, identity: Identity, endpoint: str) -> list[Mapping[str, Any]]:
        """Return the tasks of 2025-11-25 that this principal may see, the latest first."""
        found = []
        for task in await self._store.tasks_of(principal_of(identity), _MOST_LISTED):
            held = await self.held(task.id)
            if held is not None and is_of(task, identity, endpoint, LEGACY) and self.may_see(identity, held):
                found.append(self.state_of(held))
        return found

    def may_see(self, identity: Identity, held: Held) -> bool:
        """Tell whether a policy lets an agent make the call that became a task."""
        bundle, begun = self._rules.current.bundle, self._begun(held)
        if begun.tool.quarantined or self._is_stopped(identity, begun):
            return False
        decision = decide(bundle, decision_input(bundle, identity, begun.tool, begun.arguments, begun.facts))
        return decision.allowed or (begun.asked_people and decision.ruling is Ruling.NEEDS_APPROVAL)

    def _is_stopped(self, identity: Identity, begun: Begun) -> bool:
        try:
            self._pauses.check_agent(identity)
            self._pauses.check_tool(begun.tool)
            self._pauses.check_run(begun.facts.run)
        except (LimitFault, StoreFault):
            return True
        return False

    def state_of(self, held: Held) -> Mapping[str, Any]:
        """Return what a client may see of how a task stands."""
        return self._polling.shown(held.state)

    # Following

    async def revive(self) -> frozenset[str]:
        """Take up the tasks that an earlier process left open; return the ids of their calls, which still live."""
        now = self._clock.now_ms()
        for record in await self._store.open_tasks():
            held = await self.from_record(record)
            if held is None:  # what was called was let go of: nobody can go on with it, and nothing of it stays
                await self._store.save_task(replace(record, is_open=False, until_ms=0), now)
            elif held.record.is_open:
                self._open[record.id] = held
        await self._store.forget_tasks(now)
        return frozenset(held.call_id for held in self._open.values())

    async def run(self) -> None:
        """Follow the tasks that were taken up, and forget what is over for long, until cancelled."""
        try:
            for held in list(self._open.values()):
                if not held.awaits:
                    self._follow(held)
            while True:
                await self._clock.sleep(_SWEEP_S)
                await self._store.forget_tasks(self._clock.now_ms())
        finally:
            followers = list(self._followers.values())
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    def news_of(self, server: str, upstream: object) -> None:
        """Take note that a server says that a task of its own stands otherwise."""
        for held in list(self._open.values()):
            if held.server == server and held.record.body["upstream"] == upstream:
                held.changed.set()

    def _follow(self, held: Held) -> None:
        follower = asyncio.get_running_loop().create_task(self._until_over(held))
        self._followers[held.record.id] = follower
        follower.add_done_callback(lambda done: self._unfollowed(held, done))

    def _unfollowed(self, held: Held, done: "asyncio.Task[None]") -> None:
        self._followers.pop(held.record.id, None)
        if not done.cancelled() and done.exception() is not None:
            _LOG.error("%s is not followed any more", held.record.id, exc_info=done.exception())

    async def _until_over(self, held: Held) -> None:
        failures = 0
        while held.record.is_open:
            await self.pause(held)
            try:
                await self.look(held)
                failures = 0
            except GatewayError as error:
                if not failures:
                    _LOG.warning("%s of %s cannot be asked about: %s", held.record.id, held.server, error.message)
                failures += 1
                await self._clock.sleep(min(2.0 ** min(failures, 16), _LONGEST_WAIT_S))

    async def pause(self, held: Held) -> None:
        """Wait as long as the server wants one to, unless there is news."""
        waiting = asyncio.ensure_future(held.changed.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(held.form.pause_s(held.state)))
        try:
            await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()
        held.changed.clear()

    async def look(self, held: Held, call: Call | None = None) -> Mapping[str, Any]:
        """Ask how a task stands, and record what came of its call where it is over; return what the server said.

        It is done to its end, whoever asks and goes away.

        Raises:
            ConnectorFault: the server cannot say. StoreFault: what it said cannot be recorded.
        """
        return await self._owned.run(self._looked(held, call))

    async def _looked(self, held: Held, call: Call | None) -> Mapping[str, Any]:
        async with held.lock:
            if not held.record.is_open:
                return held.state
            if self._clock.now_ms() > held.record.until_ms:
                return await self._lost(held, "Its time is over, and its server never said what came of it.")
            if call is None and held.is_unwatchable:
                return held.state
            try:
                seen = await self._polling.ask(held, GET_TASK, call=call)
            except ConnectorFault as fault:
                if is_unknown(fault):
                    return await self._lost(held, f"{held.server} does not know of it any more.")
                raise
            if wrong := broken(seen):
                said = f"{held.server} answered with something that is no task: {wrong}."
                raise ConnectorFault(said, code="contract_broken")
            held.questions = seen.get("inputRequests")
            return await self._saw(held, seen, call)

    async def heard(self, held: Held, seen: Mapping[str, Any], call: Call) -> None:
        """Take a server's word for how a task stands. Raises as `look`."""
        await self._owned.run(self._heard(held, seen, call))

    async def _heard(self, held: Held, seen: Mapping[str, Any], call: Call) -> None:
        async with held.lock:
            if held.record.is_open:
                await self._saw(held, seen, call)

    async def answered(self, held: Held, raw: Mapping[str, Any]) -> None:
        """Take what a server answered while it was waited for its task to be over. Raises as `look`."""
        state = {**held.state, "status": ended_as(raw)}
        await self._owned.run(self._ended(held, state, related(raw, held.record.id)))

    async def let_ask(self, held: Held) -> None:
        """Note on record that its server is let ask what it needs to know: this process alone will know what."""
        if not held.record.body.get("asked"):
            held.record = replace(held.record, body={**held.record.body, "asked": True})
            await self._store.save_task(held.record, self._clock.now_ms())

    async def lost(self, held: Held, why: str) -> None:
        """End a task of which nobody will know what came. Raises `StoreFault`."""
        state = {**held.state, "status": "failed", "statusMessage": why}
        await self._owned.run(self._ended(held, state, self._gone(held, why)))

    async def _ended(self, held: Held, state: Mapping[str, Any], raw: Mapping[str, Any] | GatewayError) -> None:
        async with held.lock:
            if held.record.is_open:
                await self._end(held, state, raw)

    async def _saw(self, held: Held, said: Mapping[str, Any], call: Call | None) -> Mapping[str, Any]:
        """Take note of what its server said of a task; return that as its client has it."""
        seen = translated(said, held.spoken, held.form)
        if seen["status"] not in OVER:
            await self.stands(held, state_in(seen, held.record.id))
            return seen
        answered = await self._answer(held, said, call)
        await self._end(held, state_in(seen, held.record.id), answered)
        return seen

    async def _answer(self, held: Held, seen: Mapping[str, Any], call: Call | None) -> Mapping[str, Any] | GatewayError:
        """Return what came of a task that is over. Raises `ConnectorFault`: it cannot be had now."""
        if seen["status"] == "cancelled":
            return self._gone(held, "It was called off.", code="cancelled")
        if held.spoken is LEGACY:
            try:
                return related(await self._polling.ask(held, TASK_RESULT, call=call), held.record.id)
            except ConnectorFault as fault:
                if fault.rpc is None:
                    raise
                return fault
        if seen["status"] == "completed":
            result = seen.get("result")
            return related(result, held.record.id) if isinstance(result, Mapping) else {}
        return as_rejected(seen.get("error"), held.server)

    async def _lost(self, held: Held, why: str) -> Mapping[str, Any]:
        state = {**held.state, "status": "failed", "statusMessage": why}
        await self._end(held, state, self._gone(held, why))
        return held.state

    def _gone(self, held: Held, why: str, code: str = "") -> GatewayError:
        """Return the fault of a task that ended without an answer: an effect may have happened all the same."""
        if held.call.tool.effect is not Effect.READ:
            said = f"{held.call.tool.name} was begun as a task: {why} It may or may not have happened"
            return OutcomeUnknown(f"{said} (#{held.call_id}). Do not repeat it blindly.")
        return RequestFault(why, code=code) if code else ConnectorFault(why, code="unavailable")

    async def _end(self, held: Held, state: Mapping[str, Any], answered: Mapping[str, Any] | GatewayError) -> None:
        """Put the outcome of a task's call on record, and close the task."""
        outcome = await self._conclude(held.call, answered)
        if held.form is LEGACY and state["status"] == "completed" and not isinstance(outcome, Succeeded):
            state = {**state, "status": "failed"}
        await self.close(held, state, outcome, getattr(answered, "rpc", None))

    async def close(self, held: Held, state: Mapping[str, Any], outcome: Outcome, rpc: Any = None) -> None:
        """Close a task with what came of its call, which is on record; `rpc` as of `outcome_of`."""
        self._fresh.keep(held.record.id, outcome)
        held.record = replace(
            held.record,
            is_open=False,
            until_ms=max(held.record.until_ms, self._clock.now_ms() + KEPT_MS),
            body={**held.record.body, **({"rpc": self._redact(rpc)} if rpc is not None else {})},
        )
        self._open.pop(held.record.id, None)
        await self.stands(held, state)

    async def stands(self, held: Held, state: Mapping[str, Any]) -> None:
        """Note how a task stands; whoever hears is told where that is something else."""
        before, held.state = held.state, state
        is_news = (before["status"], before.get("statusMessage")) != (state["status"], state.get("statusMessage"))
        if held.record.is_open and not held.awaits:
            until_ms = self._created_ms(held) + held.form.lives_ms(state, _LONGEST_MS) + _GRACE_MS
            held.record = replace(held.record, until_ms=until_ms)
        if not is_news and held.record.is_open:
            return
        held.record = replace(held.record, body=self._body(held.record.body, state))
        held.orphaned = held.orphaned and state["status"] == "input_required"
        await self._store.save_task(held.record, self._clock.now_ms())
        held.changed.set()
        self.told(held)

    def _created_ms(self, held: Held) -> int:
        return held.call.received_ms

    def _body(self, body: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
        kept = {name: value for name, value in body.items() if name != "asked" or state["status"] == "input_required"}
        return {**kept, "state": self._redact(state)}

    async def held(self, task_id: str) -> Held | None:
        """Return a task, open or on record, whosever it is; None where there is none of that id."""
        held = self._open.get(task_id)
        if held is not None:
            return held
        record = await self._store.find_task(task_id)
        return None if record is None else await self.from_record(record)

    async def from_record(self, record: TaskRecord) -> Held | None:
        """Return a task as it is on record; it is over where its call is."""
        recorded = await self._ledger.made(record.body.get("by", record.call_id))
        if recorded is None or "facts" not in recorded.claim_body:  # what was called was let go of, in time
            return None
        ended = recorded.end_body is not None and "awaits" not in record.body
        if record.is_open and ended:  # a crash came between the two
            record = replace(record, is_open=False, until_ms=self._clock.now_ms() + KEPT_MS)
            await self._store.save_task(record, self._clock.now_ms())
        rules = self._rules.current
        call = call_of(recorded, record.body["server"], rules.catalog.find(recorded.tool), rules.bundle)
        return Held(record, record.body["state"], call, orphaned=record.body.get("asked", False))

    def _begun(self, held: Held) -> Begun:
        call = held.call
        tool = self._rules.current.catalog.find(call.tool.name) or call.tool
        facts = replace(call.facts, repeat_of=call.id)
        return Begun(held.record.id, call.id, tool, call.arguments, facts, held.asked_people, call.identity.is_handed)

    async def outcome(self, held: Held) -> Outcome:
        """Return what came of the call of a task that is over: as it came, or as it is on record."""
        fresh = self._fresh.find(held.record.id)
        if fresh is not None:
            return fresh
        if (error := held.record.body.get("error")) is not None:  # its call was never made
            return Failed(fault_of(error["code"], error["message"]))
        recorded = await self._ledger.made(held.call_id)
        assert recorded is not None
        return outcome_of(recorded, held.record.body.get("rpc"))


_RUNS: Final = "The server carries this call out as a task."


def _waiting(held: Held, result: Mapping[str, Any]) -> Waiting:
    return Waiting(held.record.id, _RUNS, held.form.pause_s(held.state), answer=result)
