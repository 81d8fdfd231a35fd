"""Stage 8: have the tool do it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.model.call import Call
from gateway.resilience.executor import Executor

__all__ = ["OWN_META_PREFIX", "Execute", "OwnTool"]

OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]
"""A tool the gateway itself offers."""

OWN_META_PREFIX: Final = "io.toolgate/"
"""`_meta` keys the gateway reads or writes; they never go downstream."""


class Execute:
    """Sets `call.raw` and `call.attempts`. Retries, breaker and deadline are the executor's."""

    def __init__(self, executor: Executor, upstreams: Upstreams, own: Mapping[str, OwnTool]) -> None:
        self._executor = executor
        self._upstreams = upstreams
        self._own = own

    async def __call__(self, call: Call) -> None:
        call.attempts = []
        own = self._own.get(call.tool.name)
        if own is not None:
            call.raw = await own(call)
            return
        asked = ToolCall(
            tool=call.tool.upstream_name,
            arguments=call.arguments,
            call_id=call.id,
            timeout_s=call.tool.deadline_s,
            idempotency_key=call.step_key if call.tool.idempotent else None,
            meta={k: v for k, v in call.request.meta.items() if not k.startswith(OWN_META_PREFIX)},
        )
        call.raw = await self._executor.execute(
            call.tool, asked, self._upstreams.get(call.tool.server), call.attempts.append
        )
