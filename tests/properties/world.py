"""A world in which a gateway can crash at any await: what is durable stays, everything else is gone."""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.connector import ConnectorFault, ToolCall, ToolsOnly, ToolTraits
from gateway.model.errors import StoreFault
from gateway.model.outcome import Denied, Failed, Succeeded, Unknown, Waiting
from gateway.model.request import CallRequest
from gateway.pipeline.runner import Ended
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, Intent
from tests.fixtures.clock import CountingIds, FakeClock
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, PRECONDITION, Gate, answer

__all__ = ["MODES", "EffectServer", "World"]

FORBIDDEN = """
@id("not-other") forbid (principal == Gateway::Agent::"other", action == Gateway::Action::"payments.settle", resource);
"""
MODES = ("ok", "rejected", "unsent", "error-result", "lost-after", "broken-after", "bug-after", "lost-before")
"""What a server does with an attempt; whatever ends in `-after` had its effect."""


class Crashed(BaseException):
    """The process is gone: nothing catches this, and nothing more is written."""


class Life:
    """The store as one process sees it: every call of it is two places where the process may stop or the disk fail.

    `spoiled` tells that an outcome could not be written: then its call is in doubt until the next start.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.dead = False
        self.spoiled = False
        self.fault: tuple[str, str] | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._world.store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def transition(*args: Any, **named: Any) -> Any:
            await self.point(name, "before")
            result = await method(*args, **named)
            if name == "claim" and result.verdict is ClaimVerdict.CLAIMED:
                self._world.claimed[args[0].call_id] = args[0]
            await self.point(name, "after")
            return result

        return transition

    async def point(self, name: str, when: str) -> None:
        """Let others run, and perhaps end here."""
        await asyncio.sleep(0)
        if self.dead:
            raise Crashed
        if self.fault == (name, when):
            self.fault = None
            self.spoiled = self.spoiled or name == "finish"
            raise StoreFault("The ledger does not answer.")


class EffectServer(ToolsOnly):
    """Counts its effects. A tool that takes an idempotency key has its effect once per key, as it promised."""

    def __init__(self, world: "World", life: Life) -> None:
        self._world = world
        self._life = life

    async def open(self) -> None:
        """Be there."""

    async def close(self) -> None:
        """Be gone."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return []

    def traits(self, tool: str) -> ToolTraits | None:
        return None

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        await self._life.point(call.tool, "arrive")
        self._world.arrived(call)
        mode = self._world.modes.pop(0) if self._world.modes else "ok"
        faults: Mapping[str, Exception] = {
            "rejected": ConnectorFault("no", code="rejected"),
            "unsent": ConnectorFault("no way there", sent=False),
            "lost-before": ConnectorFault("no answer", code="timeout"),
            "lost-after": ConnectorFault("no answer", code="timeout"),
            "bug-after": RuntimeError("a bug"),
        }
        if mode in {"ok", "lost-after", "broken-after", "bug-after"}:
            self._world.effect(call)
        await self._life.point(call.tool, "leave")
        if mode in faults:
            raise faults[mode]
        if mode == "broken-after":
            return {"nonsense": mode}
        if mode == "error-result":
            return answer(isError=True)
        return answer({"result": "passed"})


class World:
    """What lasts: the store, the servers' effects, and what callers were told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ids = CountingIds()
        self.store = MemoryStore(self.clock)
        self.claimed: dict[str, Intent] = {}
        self.asked: set[str] = set()
        self.effects: list[ToolCall] = []
        self.done_keys: set[str] = set()
        self.keys: dict[str, str] = {}
        self.delivered: set[str] = set()
        self.modes: list[str] = []
        self.ended: list[Ended] = []
        self.begin()

    def begin(self) -> None:
        """Start a process on what there is."""
        self.life = Life(self)
        store: Any = self.life
        servers = {name: EffectServer(self, self.life) for name in DEFINITIONS}
        self.gate = Gate(
            PERMIT_ALL, PRECONDITION, FORBIDDEN, store=store, clock=self.clock, ids=self.ids, servers=servers
        )

    def arrived(self, call: ToolCall) -> None:
        """A request reached a server: it must have been claimed, and not have ended."""
        intent = self.claimed.get(call.call_id)
        assert intent is not None, f"{call.tool} was executed without a claim"
        self.asked.add(call.call_id)
        if call.idempotency_key is not None:
            self.keys[call.call_id] = call.idempotency_key

    def effect(self, call: ToolCall) -> None:
        """Have the effect, once per key where the tool takes one; reading has none."""
        if call.tool == "check":
            return
        if call.idempotency_key is not None and call.idempotency_key in self.done_keys:
            return
        self.done_keys.add(call.idempotency_key or "")
        self.effects.append(call)

    async def run(self, *requests: CallRequest) -> None:
        """Let several callers ask at the same time."""
        self.ended += await asyncio.gather(*(self.gate.runner.run(request) for request in requests))
        await self.idle()

    async def run_and_leave(self, request: CallRequest, steps: int) -> None:
        """Let a caller ask, and go away after some steps."""
        task = asyncio.ensure_future(self.gate.runner.run(request))
        await _steps(steps)
        task.cancel()
        self.ended += [end for end in await asyncio.gather(task, return_exceptions=True) if isinstance(end, Ended)]
        await self.idle()

    async def run_and_crash(self, requests: Sequence[CallRequest], steps: int) -> None:
        """Let callers ask, and end the process after some steps."""
        tasks = [asyncio.ensure_future(self.gate.runner.run(request)) for request in requests]
        await _steps(steps)
        self.life.dead = True
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        self.ended += [end for end in ends if isinstance(end, Ended)]

    async def recover(self) -> None:
        """What a gateway does when it starts."""
        await self.gate.recorder.recover()
        assert await self.store.unfinished() == []

    async def idle(self) -> None:
        """Wait until the gateway has nothing to do."""
        while len(self.gate.owned):
            await asyncio.sleep(0)

    async def check(self) -> None:
        """Hold everything that happened against what was promised."""
        self._one_key_one_effect()
        self._what_callers_were_told_is_true()
        await self._every_claim_ends_once()
        self._a_check_carries_one_payment()
        await self.store.verify()

    def _one_key_one_effect(self) -> None:
        made = [self.claimed[call.call_id] for call in self.effects]
        keys = [(intent.agent, intent.tool, intent.step_key) for intent in made if intent.step_key is not None]
        assert len(keys) == len(set(keys)), "one key had two effects"
        settled = [
            (intent.agent, call.arguments["payment_id"])
            for intent, call in zip(made, self.effects, strict=True)
            if intent.tool == "payments.settle"
        ]
        assert len(settled) == len(set(settled)), "one payment was settled twice"
        unnamed = [intent for intent in made if (intent.step_key or "").startswith("call:")]
        for intent in unnamed:
            same = [one for one in unnamed if _place(one) == _place(intent)]
            over = [one for one in same if one.call_id in self.delivered]
            assert len(same) <= len(over) + 1, "an identical call was made again before the first was over"

    def _what_callers_were_told_is_true(self) -> None:
        happened = {call.call_id for call in self.effects}
        for end in self.ended:
            match end.outcome:
                case Denied() | Waiting():
                    assert end.call.id not in self.asked, "a refused call was executed"
                case Failed():
                    assert end.call.id not in happened, "a call that had its effect was told to have failed"
                case Succeeded(result, replayed_from):
                    made_by = replayed_from or end.call.id
                    assert made_by in self.asked
                    intent = self.claimed[made_by]
                    no_effect = result.get("isError") or intent.tool == "fraud.check"
                    assert no_effect or made_by in happened or self.keys.get(made_by) in self.done_keys
                case Unknown():
                    pass

    async def _every_claim_ends_once(self) -> None:
        events = [event async for event in self.store.events(EventFilter(limit=100_000))]
        claims = [event.call_id for event in events if event.kind is EventKind.CALL_CLAIMED]
        ends = [event.call_id for event in events if event.kind is EventKind.CALL_FINISHED]
        assert len(claims) == len(set(claims))
        assert len(ends) == len(set(ends))
        running = {recorded.call_id for recorded in await self.store.unfinished()}
        assert set(claims) == set(ends) | running
        assert set(ends) & running == set()
        assert not running or self.life.spoiled, "nobody carries this call out, and it has not ended"
        whole = {event.call_id for event in events if event.kind is EventKind.CALL_RECORDED}
        assert whole & set(claims) == set(), "a call has two outcomes"
        assert {end.call.id for end in self.ended if isinstance(end.outcome, Succeeded)} <= whole | set(claims)

    def _a_check_carries_one_payment(self) -> None:
        used = [use.call_id for call in self.effects for use in self.claimed[call.call_id].uses if use.consume]
        assert len(used) == len(set(used)), "one check carried two payments"


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _place(intent: Intent) -> tuple[str, str, str, str]:
    return intent.agent, intent.tool, intent.run_id, intent.arguments_digest
