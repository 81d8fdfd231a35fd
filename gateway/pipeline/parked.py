"""Calls that wait for people as tasks: once approved, the gateway makes them, in the name of who asked for them.

Whoever makes the call first, the task, a repetition or another task, uses the approval up: it is made once, and every
task that waits for the same approval ends with what came of it. Nothing but its row is needed for a task to go on after
a restart. A caller whose credential cannot be vouched for without it (a JWT, or one that was revoked meanwhile) has to
ask about the task once more before its call is made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.approval.approvals import Approvals
from gateway.approval.values import Approval, ApprovalRefused
from gateway.ledger.parts import Redact
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import ApprovalFault, ConnectorFault, GatewayError, IdentityFault, RequestFault
from gateway.model.identity import Credential, Identity, principal_of
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Waiting
from gateway.model.request import CallRequest, Promise
from gateway.pipeline.parking import Parking, refused_all_the_same
from gateway.pipeline.polling import Held, wanted_in
from gateway.pipeline.recalling import outcome_of
from gateway.pipeline.runner import Ended
from gateway.pipeline.sealing import Seal
from gateway.pipeline.sending import task_id_of
from gateway.pipeline.task_states import KEPT_MS, ended_as, is_of, state_in, times
from gateway.pipeline.tasks import Tasks
from gateway.resilience.owned import OwnedTasks
from gateway.store.approvals import ApprovalState
from gateway.store.ports import Ledger
from gateway.store.tasks import TaskRecord
from gateway.task.forms import LEGACY, Form

__all__ = ["Lobby", "Parked"]

_LOG = logging.getLogger(__name__)
_ASK_AGAIN_MS: Final = 2_000
"""How long a client is told to wait before it asks again."""

_LOOK_S: Final = 0.5
_SHARE: Final = 20
"""The gateway looks at what waits for at most one part in so many of its time, and every half second at most."""

_LONGEST_PAUSE_S: Final = 60
_NOT_NOW: Final = frozenset({"rate_limited", "in_progress", "paused", "shutting_down", "store_unavailable"})
_OF_THIS_REQUEST: Final = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})
_AT_ONCE_META: Final = "io.modelcontextprotocol/model-immediate-response"
_WHILE_IT_WAITS: Final = frozenset({"awaits", "request", "sealed", "by"})
_UNREADABLE: Final = (
    "It was approved, and what it was called with cannot be read any more: the gateway's key is another one. Make the "
    "call again: it is carried out then, once."
)
_GONE: Final = "Nothing is on record any more of what people were asked about it. Make the call again."
Run = Callable[[CallRequest], Awaitable[Ended]]


@dataclass(slots=True)
class Lobby:
    """What waiting calls stand on: `run` makes one, and is set once there is a pipeline.

    `seal` is for what a call holds that must not be kept as it is.
    """

    approvals: Approvals
    ledger: Ledger
    clock: Clock
    redact: Redact
    owned: OwnedTasks
    seal: Seal
    run: Run = field(init=False)


class Parked:
    """The tasks whose calls wait for people. Nothing is made twice, whoever asks and goes away meanwhile."""

    def __init__(self, tasks: Tasks, parking: Parking, lobby: Lobby) -> None:
        self._tasks = tasks
        self._parking = parking
        self._lobby = lobby
        self._approvals = lobby.approvals
        self._clock = lobby.clock
        self._under_way: set[str] = set()
        self._news = asyncio.Event()
        parking.as_task = self.begin

    def made_by(self, run: Run) -> None:
        """Have approved calls made by `run`."""
        self._lobby.run = run

    async def begin(self, call: Call, approval: Approval, text: str) -> Waiting | None:
        """Return the task as which a call waits for an approval; None where its client can follow none.

        What of it must not be kept is sealed as long as it waits. Raises `StoreFault`.
        """
        form = wanted_in(call)
        if form is None or call.request.promised is not None or not self._tasks.has_room(call):
            return None
        for held in self._tasks.waiting():
            if held.awaits == approval.id and is_of(held.record, call.identity, call.request.endpoint, form):
                return _waiting(held, approval, text)
        held = self._waits(call, approval, form, text)
        await self._tasks.keep(held, {"approval": approval.id})
        self._news.set()
        return _waiting(held, approval, text)

    def _waits(self, call: Call, approval: Approval, form: Form, text: str) -> Held:
        task_id, now = task_id_of(call.id), self._clock.now_ms()
        lives_ms = approval.until_ms - now + self._approvals.kept.use_within_ms + KEPT_MS
        told = {"status": "working", "statusMessage": text, **times(now)}
        state = state_in({**told, form.ttl: lives_ms, form.interval: _ASK_AGAIN_MS}, task_id)
        body = {
            "form": form.name,
            "server": call.tool.server,
            "tool": call.tool.name,
            "upstream": "",
            "endpoint": call.request.endpoint,
            "personal": call.identity.method == "jwt",
            "approval": approval.id,
            "awaits": approval.id,
            **self._kept(call, task_id),
            "state": self._lobby.redact(state),
        }
        record = TaskRecord(task_id, call.id, principal_of(call.identity.itself), True, now + lives_ms, body)
        return Held(record, state, call.answered_later())

    def _kept(self, call: Call, task_id: str) -> Mapping[str, Any]:
        """Return what is kept to make a call of: readable where nothing in it is secret."""
        asked = _asked(call)
        whole = [call.arguments, asked]
        if self._lobby.redact(whole) == whole:
            return {"request": asked}
        return {"sealed": self._lobby.seal.close({"arguments": call.request.arguments, **asked}, task_id)}

    def _asked_in(self, record: TaskRecord) -> Mapping[str, Any]:
        """Return what is to be made a call of. Raises `ValueError`: it was sealed with a key that is gone."""
        body, seal = record.body, self._lobby.seal
        asked: Mapping[str, Any] = seal.open(body["sealed"], record.id) if "sealed" in body else body["request"]
        return asked

    async def run(self) -> None:
        """Make what people approve, and close what they refuse, until cancelled."""
        stuck: dict[str, str] = {}
        while True:
            if not self._tasks.waiting():
                stuck.clear()
                self._news.clear()
                await self._news.wait()
            began = self._clock.monotonic()
            for held in self._tasks.waiting():
                try:
                    await self.look(held)
                    stuck.pop(held.record.id, None)
                except GatewayError as error:
                    if stuck.get(held.record.id) != error.code:  # or it is said every half second
                        _LOG.error("%s cannot go on: %s %s", held.record.id, error.code, error.detail)
                    stuck[held.record.id] = error.code
            await self._clock.sleep(max(_LOOK_S, _SHARE * (self._clock.monotonic() - began)))

    async def look(self, held: Held, call: Call | None = None) -> None:
        """Go on with a task as its approval stands: its call is begun, and not waited for.

        `call` is its client's question, where one asks.

        Raises:
            StoreFault: how it stands cannot be told.
        """
        await self._lobby.owned.run(self._looked(held, call))

    async def _looked(self, held: Held, call: Call | None) -> None:
        async with held.lock:
            if not held.awaits or held.record.id in self._under_way:
                return
            approval, now = await self._found(held), self._clock.now_ms()
            if approval is None:
                await self._close(held, Failed(ApprovalFault(_GONE, code="approval_over")))
            elif approval.is_usable(now):
                await self._make(held, call, now)
            elif approval.used_by:
                await self._made_by(held, approval.used_by)
            elif not approval.is_pending(now):
                await self._close(held, Failed(await self._parking.refusal(approval)))

    async def _found(self, held: Held) -> Approval | None:
        """Return what a task waits for; None where somebody took it out of the database. Raises `StoreFault`."""
        try:
            return await self._approvals.find(held.awaits)
        except ApprovalRefused:
            return None

    async def _make(self, held: Held, asking: Call | None, now: int) -> None:
        if now < held.next_try_ms:
            return
        identity: Identity | None = held.call.identity
        caller, presented, loopback = held.call.request.caller, Credential("none", ""), True
        if held.record.body["personal"]:
            if asking is None:
                await self._says(held, "It is approved, and is carried out when you next ask about this task.")
                return
            identity, presented, loopback = None, asking.request.caller.credential, asking.request.caller.loopback
        try:
            asked = self._asked_in(held.record)
        except ValueError:
            await self._close(held, Failed(ApprovalFault(_UNREADABLE, code="approval_over")))
            return
        request = CallRequest(
            name=asked["name"],
            arguments=asked.get("arguments", held.call.arguments),
            caller=replace(caller, credential=presented, loopback=loopback),
            meta=asked["meta"],
            run=held.call.facts.run.id if held.call.identity.is_handed else None,
            idempotency_key=asked["key"],
            endpoint=held.record.body["endpoint"],
            promised=Promise(held.record.id, held.form.name, held.call.facts.run, identity),
        )
        self._under_way.add(held.record.id)
        self._lobby.owned.start(self._made(held, request))

    async def _made(self, held: Held, request: CallRequest) -> None:
        try:
            ended = await self._lobby.run(request)
            async with held.lock:
                await self._came_of(held, ended)
        except GatewayError as error:  # what was made is on record: the next look finds it there
            _LOG.error("%s cannot be closed: %s %s", held.record.id, error.code, error.detail)
        finally:
            self._under_way.discard(held.record.id)

    async def _came_of(self, held: Held, ended: Ended) -> None:
        call, outcome = ended.call, ended.outcome
        held.tries += 1
        held.next_try_ms = self._clock.now_ms() + 1000 * min(2 ** min(held.tries, 16), _LONGEST_PAUSE_S)
        match outcome:
            case Waiting(answer=answer) if answer is not None:  # its server carries it out, as this very task
                return
            case Waiting():
                await self._says(held, outcome.message, awaits=outcome.approval or held.awaits)
            case Failed(error) if isinstance(error, IdentityFault):
                said = (
                    "It is approved, but its caller has to be known anew: ask about this task with a valid credential."
                )
                await self._says(held, said, personal=True)
            case Failed(error) if _is_for_now(call, error):
                await self._says(held, f"It is approved, and tried again: {error.message}")
            case Denied():
                await self._close(held, Failed(refused_all_the_same(outcome)))
            case _:
                await self._close(held, outcome, call if call.has("decision") else None)

    async def _made_by(self, held: Held, call_id: str) -> None:
        """Close a task with what came of another call that used its approval; nothing yet while that is under way."""
        recorded = await self._lobby.ledger.made(call_id)
        found = await self._tasks.from_record(replace(held.record, body={**held.record.body, "by": call_id}))
        if recorded is not None and found is not None and recorded.end_body is not None:
            await self._close(held, outcome_of(recorded), found.call)

    async def cancel(self, held: Held) -> None:
        """Call a task off: nobody is asked any more.

        Raises:
            RequestFault: its call is being made. StoreFault: it cannot be told.
        """
        await self._lobby.owned.run(self._called_off(held))

    async def _called_off(self, held: Held) -> None:
        async with held.lock:
            if not held.awaits:  # it was over a moment before
                return
            approval = await self._found(held)
            while approval is not None and approval.state in {ApprovalState.PENDING, ApprovalState.APPROVED}:
                if held.record.id in self._under_way or approval.used_by:
                    raise RequestFault("It was approved and is being carried out: it cannot be called off any more.")
                await self._approvals.void(approval, "its task was called off by who asked")
                approval = await self._found(held)
            gone = RequestFault("It was called off before it was carried out.", code="cancelled")
            await self._close(held, Failed(gone), status="cancelled")

    async def _says(self, held: Held, text: str, **more: Any) -> None:
        held.record = replace(held.record, body={**held.record.body, **more})
        now = times(self._clock.now_ms())["lastUpdatedAt"]
        await self._tasks.stands(held, {**held.state, "statusMessage": text, "lastUpdatedAt": now})

    async def _close(self, held: Held, outcome: Outcome, call: Call | None = None, status: str = "failed") -> None:
        """Close a task with what came of `call`, or why there was none."""
        assert not isinstance(outcome, Denied | Waiting)
        body = {name: each for name, each in held.record.body.items() if name not in _WHILE_IT_WAITS}
        state = {name: each for name, each in held.state.items() if name != "statusMessage"}
        state["lastUpdatedAt"] = times(self._clock.now_ms())["lastUpdatedAt"]
        rpc = None
        if isinstance(outcome, Succeeded):
            status = ended_as(outcome.result)
        else:
            state["statusMessage"], rpc = outcome.error.message, getattr(outcome.error, "rpc", None)
            body["error"] = {"code": outcome.error.code, "message": self._lobby.redact(outcome.error.message)}
        if call is not None:
            held.call, body["by"] = call.answered_later(), call.id
            body.pop("error", None)
        held.record = replace(held.record, body=body)
        await self._tasks.close(held, {**state, "status": status}, outcome, rpc)


def _is_for_now(call: Call, error: GatewayError) -> bool:
    """Tell whether nothing was done, and would be in a while: the approval is there still."""
    if isinstance(error, ConnectorFault):
        return error.retryable and not error.sent
    return error.code in _NOT_NOW and not (call.has("intent") and call.intent)


def _asked(call: Call) -> Mapping[str, Any]:
    """Return what of a request is needed to make its call later, beside what is on record of every call."""
    request = call.request
    meta = {
        name: each
        for name, each in request.meta.items()
        if name not in _OF_THIS_REQUEST and not name.startswith("io.modelcontextprotocol/")
    }
    sent = {} if request.arguments is call.arguments else {"arguments": request.arguments}
    return {"name": request.name, "meta": meta, "key": request.idempotency_key, **sent}


def _waiting(held: Held, approval: Approval, text: str) -> Waiting:
    result = held.form.made_of(held.state)
    if held.form is LEGACY:
        result["_meta"] = {_AT_ONCE_META: text}
    return Waiting(held.record.id, text, _ASK_AGAIN_MS / 1000, approval=approval.id, answer=result)
