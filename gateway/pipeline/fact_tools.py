"""`facts.put`, `facts.get`, `facts.list`, `facts.delete`: what carries the gateway's own tools out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.codec import digest, dump
from gateway.facts.own_tools import DELETE_FACT, GET_FACT, LIST_FACTS, PUT_FACT
from gateway.facts.owners import FactScope, owner_of
from gateway.ledger.entries import Redact
from gateway.ledger.trace import CallLine, one_line
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import RequestFault
from gateway.model.facts import FactKey, StepStatus
from gateway.pipeline.holding import teams_of
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.stages.redact import masked_fields
from gateway.policy import decide, decision_input
from gateway.store.fact_events import FACT_EVENTS
from gateway.store.facts import Fact, FactPut, FactVerdict
from gateway.store.ports import Ending, EventFilter, Recorded, Store

__all__ = ["FactGround", "FactTools"]

_INLINE: Final = 256
_LOOKED_BACK: Final = 50
_WHOSE: Final[Mapping[FactScope, str]] = {
    FactScope.SESSION: "This connection has no session; use the scope run.",
    FactScope.USER: "You act for no user; use the scope agent or run.",
    FactScope.TEAM: "Name one of your own teams.",
}
OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class FactGround:
    """What facts stand on."""

    store: Store
    rules: RulesInForce
    clock: Clock
    redact: Redact


class FactTools:
    """Facts as agents use them. Whose a fact is follows from who calls; an agent never names another's."""

    def __init__(self, ground: FactGround) -> None:
        self._store = ground.store
        self._rules = ground.rules
        self._clock = ground.clock
        self._redact = ground.redact

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries each tool out, by its name."""
        return {PUT_FACT: self.put, GET_FACT: self.get, LIST_FACTS: self.list, DELETE_FACT: self.delete}

    async def put(self, call: Call) -> Mapping[str, Any]:
        """Answer `facts.put`; a conflict is an error that shows both values.

        Raises:
            RequestFault: the value, the proof or the scope is none that can be.
        """
        asked, key = call.arguments, _key(call)
        self._check_value(call, key, asked["value"])
        proof = await self._proof(call, asked["proof"], asked["value"]) if "proof" in asked else None
        now = self._clock.now_ms()
        until = now + asked["ttl_s"] * 1000 if "ttl_s" in asked else 0
        put = self._put(call, key, now, value=asked["value"], until_ms=until, proof=proof)
        answer = await self._store.put_fact(put)
        if answer.verdict is FactVerdict.FULL:
            raise RequestFault(f"This {key.scope} holds {put.most} facts already: delete some.", code="too_large")
        if answer.verdict is FactVerdict.CONFLICT:
            return _conflict(call, put, answer.fact)
        assert answer.fact is not None
        text = f"{key.name} is kept for this {key.scope}, version {answer.fact.version}."
        return _answer(text, {"fact": _shown(answer.fact)})

    async def get(self, call: Call) -> Mapping[str, Any]:
        """Answer `facts.get`. Raises `RequestFault`."""
        key = _key(call)
        [fact] = await self._store.find_facts([key], self._clock.now_ms())
        if fact is None:
            return _answer(f"This {key.scope} has no fact called {key.name}.", {"found": False})
        call.carries = fact.taint
        return _answer(dump(fact.value).decode(), {"found": True, "fact": _shown(fact)})

    async def list(self, call: Call) -> Mapping[str, Any]:
        """Answer `facts.list`. Raises `RequestFault`."""
        scope = FactScope(call.arguments["scope"])
        facts = await self._store.list_facts(scope, _owner(call), self._clock.now_ms(), self._rules.current.facts.most)
        call.carries = tuple(dict.fromkeys(label for fact in facts for label in fact.taint))
        shown = [_shown(fact, _INLINE) for fact in facts]
        lines = [f"{each['name']} (version {each['version']}): {_line(each)}" for each in shown]
        return _answer("\n".join(lines) or f"This {scope} has no facts.", {"facts": shown})

    async def of_run(self, call: Call) -> Sequence[str]:
        """Return the facts of a call's run, a line each, where its caller may list them; the call carries their labels.

        Raises:
            StoreFault: they cannot be read.
        """
        tool = self._rules.current.catalog.find(LIST_FACTS)
        if tool is None:
            return ()
        facts = replace(call.facts, priors={}, approval=None, grant=None)
        asked = {"scope": str(FactScope.RUN)}
        decision = decide(call.bundle, decision_input(call.bundle, call.identity, tool, asked, facts))
        if not decision.allowed or masked_fields(decision):
            return ()
        run, most = call.facts.run.id, self._rules.current.facts.most
        found = await self._store.list_facts(FactScope.RUN, run, self._clock.now_ms(), most)
        call.carries = tuple(dict.fromkeys(label for fact in found for label in fact.taint))
        return [
            f"FACT {fact.key.name} = {_line(_shown(fact, _INLINE))} (version {fact.version}, put by {fact.agent})"
            for fact in found
        ]

    async def delete(self, call: Call) -> Mapping[str, Any]:
        """Answer `facts.delete`. Raises `RequestFault`."""
        key = _key(call)
        put = self._put(call, key, self._clock.now_ms(), gone=True)
        answer = await self._store.put_fact(put)
        if answer.verdict is FactVerdict.CONFLICT:
            return _conflict(call, put, answer.fact)
        deleted = answer.verdict is FactVerdict.STORED
        return _answer(f"{key.name} {'is forgotten' if deleted else 'was not there'}.", {"deleted": deleted})

    async def settle(self, doubtful: Sequence[Recorded]) -> None:
        """End the doubt about puts that a stopped gateway left unfinished: the chain says whether they were done."""
        for recorded in doubtful:
            if recorded.tool in {PUT_FACT, DELETE_FACT}:
                events = [event.kind async for event in self._store.events(EventFilter(call_id=recorded.call_id))]
                done = not FACT_EVENTS.isdisjoint(events)
                await self._store.settle(_settled(recorded, self._clock.now_ms(), done))

    def _put(self, call: Call, key: FactKey, now_ms: int, **more: Any) -> FactPut:
        return FactPut(
            key=key,
            at_ms=now_ms,
            call_id=call.id,
            run_id=call.facts.run.id,
            agent=call.identity.agent,
            on_behalf_of=call.identity.on_behalf_of or "",
            tool=call.tool.name,
            expects=call.arguments.get("version"),
            most=self._rules.current.facts.most,
            taint=call.facts.taint,
            **more,
        )

    def _check_value(self, call: Call, key: FactKey, value: Any) -> None:
        section = self._rules.current.facts
        if len(dump(value)) > section.value_bytes:
            raise RequestFault(f"A value has at most {section.value_bytes} bytes as JSON.", code="too_large")
        if self._redact(value) != value:
            raise RequestFault("The value holds a secret, or what looks like one: it is not kept.")
        declared = section.names.get(key.name)
        if declared is not None and declared.scope == key.scope and not call.bundle.fits_fact(key.name, value):
            raise RequestFault(f"{key.name} is declared to be of the type {declared.type}: this value is not.")

    async def _proof(self, call: Call, asked: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
        line = await self._line(call, asked)
        if line is None:
            raise RequestFault("The proof names no call of yours, or of this run, that succeeded.")
        result = line.ended.get("result", {})
        path = asked.get("path")
        if path is not None and not _says(result.get("structuredContent"), path, value):
            raise RequestFault(f"#{line.call_id} ({line.tool}) does not say that value at {path}.")
        told = {"call": line.call_id, "tool": line.tool, "result": digest(result), "verified": path is not None}
        return told if path is None else {**told, "path": path}

    async def _line(self, call: Call, asked: Mapping[str, Any]) -> CallLine | None:
        ids = [asked["call"]] if "call" in asked else await self._latest(call, asked.get("tool", ""))
        for call_id in ids:
            line = await one_line(self._store, call_id)
            if line is None or line.tool != asked.get("tool", line.tool):
                continue
            if _is_own(line, call) and _succeeded(line):
                return line
        return None

    async def _latest(self, call: Call, tool: str) -> Sequence[str]:
        wanted = EventFilter(run_id=call.facts.run.id, tool=tool, limit=_LOOKED_BACK, latest=True)
        events = [event.call_id async for event in self._store.events(wanted)] if tool else []
        return list(dict.fromkeys(reversed(events)))


def _owner(call: Call) -> str:
    scope = FactScope(call.arguments["scope"])
    owner = owner_of(scope, call, call.facts.run.id, teams_of(call), call.arguments.get("team", ""))
    if not owner:
        raise RequestFault(_WHOSE[scope])
    return owner


def _key(call: Call) -> FactKey:
    return FactKey(call.arguments["scope"], _owner(call), call.arguments["name"])


def _is_own(line: CallLine, call: Call) -> bool:
    caller = (call.identity.agent, call.identity.on_behalf_of or "")
    return line.run_id == call.facts.run.id or (line.agent, line.on_behalf_of) == caller


def _succeeded(line: CallLine) -> bool:
    result = line.ended.get("result")
    return line.outcome == "succeeded" and isinstance(result, Mapping) and result.get("isError") is not True


def _says(node: Any, path: str, value: Any) -> bool:
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return digest(node) == digest(value)


def _settled(recorded: Recorded, now_ms: int, done: bool) -> Ending:
    text = "The fact was kept." if done else "The gateway stopped before anything was kept."
    body: dict[str, Any] = {
        "outcome": "succeeded" if done else "failed",
        "settled": {"by": "gateway", "note": "the chain says so"},
        "timing": {"received_ms": recorded.started_at_ms, "ended_ms": now_ms},
    }
    if done:
        body["result"] = {"content": [{"type": "text", "text": text}]}
    else:
        body["error"] = {"code": "rejected", "message": text, "detail": ""}
    return Ending(recorded.call_id, now_ms, StepStatus.SUCCEEDED if done else StepStatus.FAILED, body, release=not done)


def _conflict(call: Call, put: FactPut, held: Fact | None) -> Mapping[str, Any]:
    name = put.key.name
    call.carries = () if held is None else held.taint
    if held is None:
        text = f"Nothing was changed: {name} is not there (any more), so version {put.expects} cannot be replaced."
    else:
        holds = _shown(held, _INLINE)
        text = (
            f"Nothing was changed: {name} is {_line(holds)}, version {held.version}, put by {held.agent}. "
            f"To replace it after all, say version {held.version}."
        )
    found = {} if held is None else {"held": _shown(held)}
    yours = {} if put.gone else {"yours": put.value}
    return {**_answer(text, {"conflict": {**yours, **found}}), "isError": True}


def _answer(text: str, structured: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured}


def _line(shown: Mapping[str, Any]) -> str:
    return dump(shown["value"]).decode() if "value" in shown else f"{shown['size']} bytes"


def _shown(fact: Fact, most: int | None = None) -> dict[str, Any]:
    """Return a fact as agents see it; of a value with more than `most` bytes only the size."""
    size = len(dump(fact.value))
    value = {"value": fact.value} if most is None or size <= most else {"size": size}
    until = {"until": _moment(fact.until_ms)} if fact.until_ms else {}
    proof = {} if fact.proof is None else {"proof": dict(fact.proof)}
    return {
        "name": fact.key.name,
        "scope": fact.key.scope,
        **value,
        "version": fact.version,
        "at": _moment(fact.at_ms),
        **until,
        "by": fact.agent,
        **proof,
    }


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
