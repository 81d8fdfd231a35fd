"""Ending the doubt about calls: by looking up whether they happened, by making them again where that cannot double.

What neither can decide waits for a person (`toolgate runs settle`).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.codec import digest
from gateway.connector import LOOKUP, NotDone
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.ledger.entries import Redact, identity_from
from gateway.ledger.keys import sent_key
from gateway.ledger.settle import settle_by_lookup
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError, OutcomeUnknown, RequestFault
from gateway.model.facts import StepStatus
from gateway.model.identity import Credential
from gateway.model.lookup import BY_CONNECTOR, Lookup
from gateway.model.operation import TOOL_CALL
from gateway.model.request import Caller, CallRequest, Repeating
from gateway.model.tool import Effect, Tool
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.stages.check import tool_breach
from gateway.resilience.executor import Executor
from gateway.store.ports import Ledger, Recorded

__all__ = ["Asked", "Doubts", "is_repeatable"]

_LOG = logging.getLogger(__name__)
_ASK_S: Final = 3.0
_EVERY_S: Final = 15.0
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom doubts are put to."""

    ledger: Ledger
    rules: RulesInForce
    executor: Executor
    upstreams: Upstreams
    redact: Redact
    clock: Clock


def is_repeatable(tool: Tool, step_key: str | None) -> bool:
    """Tell whether a call in doubt may be made again: the tool keeps one effect to one key, and the call has one."""
    return tool.idempotent and tool.effect is not Effect.READ and step_key is not None


class Doubts:
    """The calls in doubt of this gateway, and the ways out of it. `open` are those worth asking about again."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._ledger = asked.ledger
        self.open: set[str] = set()

    def is_read(self, tool: str) -> bool:
        """Tell whether a call of a tool has no effect, whatever became of it."""
        found = self._asked.rules.current.catalog.find(tool)
        return found is not None and found.effect is Effect.READ

    async def look(self, recorded: Recorded, arguments: Fields | None = None) -> bool:
        """Ask whether a call in doubt happened, and put on record what is answered; True where the doubt has ended.

        `arguments` are those it was made with; by default those on record, if no secret was taken out of them.
        """
        tool = self._asked.rules.current.catalog.find(recorded.tool)
        if tool is None or tool.lookup is None or tool.quarantined:
            return False
        given = arguments if arguments is not None else recorded.claim_body.get("arguments")
        if not isinstance(given, Mapping) or digest(given) != recorded.arguments_digest:
            return False
        try:
            status, result = await self._answer(tool, tool.lookup, recorded, given)
            kept = self._asked.redact(result)
            by = tool.lookup.tool or tool.server
            await settle_by_lookup(self._ledger, recorded.call_id, status, (by, kept), self._asked.clock.now_ms())
        except GatewayError as fault:
            if await self._still(recorded.call_id) is None:  # somebody else has ended it meanwhile
                return True
            _LOG.info("#%s is still in doubt: %s %s", recorded.call_id, fault.message, fault.detail)
            return False
        return True

    async def confirm(self, call: Call) -> None:
        """Ask whether a call that was answered has happened. Raises `OutcomeUnknown`: that is not what is said."""
        tool, lookup = call.tool, call.tool.lookup
        assert lookup is not None
        asked = self._question(tool, call.id, call.arguments, sent_key(tool, call.identity.agent, call.step_key))
        try:
            status, _ = await self._ask_tool(tool, lookup, asked)
            why = "" if status is StepStatus.SUCCEEDED else f"{lookup.tool} says that it has not happened."
        except GatewayError as fault:
            why = f"{lookup.tool} cannot confirm it: {fault.message}"
        if why:
            raise OutcomeUnknown(f"{tool.wire_name} was answered (#{call.id}), but {why} Do not repeat it blindly.")

    def _question(self, tool: Tool, call_id: str, arguments: Fields, key: str | None) -> ToolCall:
        timeout_s = min(tool.deadline_s, _ASK_S)
        return ToolCall(tool.upstream_name, arguments, call_id, timeout_s, key, method=LOOKUP)

    async def _answer(
        self, tool: Tool, lookup: Lookup, recorded: Recorded, arguments: Fields
    ) -> tuple[StepStatus, Fields]:
        """Return whether it happened, and with which result. Raises `GatewayError`: nobody knows."""
        key = sent_key(tool, recorded.agent, recorded.step_key)
        asked = self._question(tool, recorded.call_id, arguments, key)
        if lookup != BY_CONNECTOR:
            return await self._ask_tool(tool, lookup, asked)
        try:
            result = await self._ask(tool, asked)
        except NotDone as told:
            return StepStatus.FAILED, {"content": [{"type": "text", "text": told.message}]}
        return StepStatus.SUCCEEDED, _fit(tool, result)

    async def _ask_tool(self, tool: Tool, lookup: Lookup, asked: ToolCall) -> tuple[StepStatus, Fields]:
        other = self._asked.rules.current.catalog.find(lookup.tool)
        if other is None or other.quarantined or other.effect is not Effect.READ or other.method != TOOL_CALL:
            raise RequestFault(f"{lookup.tool} is no read that can be called.")
        arguments = _arguments(other, lookup, asked)
        if broken := other.breaks_input(arguments):
            raise RequestFault(f"What is known of the call is no question to {other.name}: {broken}")
        raw = await self._ask(other, replace(asked, tool=other.upstream_name, arguments=arguments, method=TOOL_CALL))
        if raw.get("isError") is True or raw.get("resultType", "complete") != "complete" or tool_breach(other, raw):
            raise RequestFault(f"{other.name} has no answer to it.")
        assert lookup.happened is not None
        assert lookup.absent is not None
        happened, absent = not lookup.happened(raw), not lookup.absent(raw)
        if happened is absent:
            raise RequestFault(f"{other.name} says neither that it happened nor that it did not.")
        if absent:
            return StepStatus.FAILED, raw
        try:
            return StepStatus.SUCCEEDED, _fit(tool, raw if lookup.result is None else lookup.result(raw))
        except ValueError as error:
            raise RequestFault(f"The answer of {other.name} cannot be adapted: {error}") from None

    async def _ask(self, tool: Tool, asked: ToolCall) -> Fields:
        harmless = replace(tool, effect=Effect.READ)  # to ask is no effect, whatever is asked about
        return await self._asked.executor.execute(harmless, asked, self._asked.upstreams.get(tool.server))

    async def watch(self, again: Callable[[CallRequest], Awaitable[object]], recovered: list[Recorded]) -> None:
        """Have what a crash left made again where that cannot double, and ask about the rest now and then."""
        for recorded in recovered:
            request = self._repeat(recorded)
            if request is not None:
                await again(request)
        self.open |= {recorded.call_id for recorded in await self._in_doubt()}
        while True:
            for call_id in sorted(self.open):
                recorded_now = await self._still(call_id)
                if recorded_now is None or await self.look(recorded_now):
                    self.open.discard(call_id)
            await self._asked.clock.sleep(_EVERY_S)

    async def _in_doubt(self) -> list[Recorded]:
        try:
            return await self._ledger.in_doubt()
        except GatewayError as fault:
            _LOG.error("which calls are in doubt cannot be read: %s %s", fault.code, fault.detail)
            return []

    async def _still(self, call_id: str) -> Recorded | None:
        try:
            recorded = await self._ledger.made(call_id)
        except GatewayError:
            return None
        return recorded if recorded is not None and recorded.status is StepStatus.UNKNOWN else None

    def _repeat(self, recorded: Recorded) -> CallRequest | None:
        """Return the request that makes a call again in the name of who made it, or None where that is not safe."""
        tool = self._asked.rules.current.catalog.find(recorded.tool)
        arguments = recorded.claim_body.get("arguments")
        if tool is None or not is_repeatable(tool, recorded.step_key) or "undoes" in recorded.claim_body:
            return None
        if not isinstance(arguments, Mapping) or digest(arguments) != recorded.arguments_digest:
            return None
        identity = replace(identity_from(recorded.claim_body), method="recovery")
        return CallRequest(
            name=recorded.tool,
            arguments=arguments,
            caller=Caller(Credential("none", ""), transport="recovery", loopback=True),
            run=recorded.run_id,
            repeats=Repeating(recorded.call_id, identity, recorded.step_key or ""),
        )


def _arguments(tool: Tool, lookup: Lookup, asked: ToolCall) -> Fields:
    """Return what a lookup tool is asked: of the call's arguments, those that it knows."""
    made = dict(asked.arguments if lookup.arguments is None else lookup.arguments(asked.arguments))
    if lookup.key:
        made[lookup.key] = asked.idempotency_key or asked.call_id
    known = tool.input_schema.get("properties")
    return {name: value for name, value in made.items() if name in known} if isinstance(known, Mapping) else made


def _fit(tool: Tool, result: Fields) -> Fields:
    """Return a result that the tool itself could have given. Raises `RequestFault` for another."""
    if broken := tool_breach(tool, result):
        raise RequestFault(f"What was found would break the contract of {tool.name}: {broken}")
    return result
