"""Stage 8: have the server do it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.connector import ITSELF, Behalf, Secret
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.model.call import Call
from gateway.pipeline.asking import Asking
from gateway.resilience.executor import Executor

__all__ = ["OWN_META_PREFIX", "Execute", "OwnTool", "nothing_more"]

OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]
"""A tool the gateway itself offers, by its name, or a method that it carries out itself."""

OWN_META_PREFIX: Final = "io.toolgate/"
"""`_meta` keys the gateway reads or writes; they never go downstream."""


async def nothing_more(call: Call) -> Mapping[str, Any]:
    """Answer what asked only whether it may."""
    del call
    return {}


def _behalf(call: Call) -> Behalf:
    """Return for whom the call is made; only a verified JWT says so, and can be exchanged for another."""
    identity = call.identity
    if identity.method != "jwt":
        return ITSELF
    return Behalf(identity.on_behalf_of or "", identity.issuer, Secret(call.request.caller.credential.value))


class Execute:
    """Sets `call.raw` and `call.attempts`. Retries, breaker and deadline are the executor's, questions `asking`'s."""

    def __init__(self, executor: Executor, upstreams: Upstreams, own: Mapping[str, OwnTool], asking: Asking) -> None:
        self._executor = executor
        self._upstreams = upstreams
        self._own = own
        self._asking = asking

    async def __call__(self, call: Call) -> None:
        call.attempts = []
        own = self._own.get(call.tool.name) or self._own.get(call.tool.method)
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
            back=self._asking.way(call),
            method=call.tool.method,
            more=call.request.more,
            behalf=_behalf(call),
        )
        raw = await self._executor.execute(
            call.tool, asked, self._upstreams.get(call.tool.server), call.attempts.append
        )
        if raw.get("resultType") == "input_required":
            await self._asking.vet(call, raw.get("inputRequests"))
        call.raw = raw
