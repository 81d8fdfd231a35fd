"""Stage 8: have the server do it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from gateway.cache.results import Fetched, ResultCache
from gateway.connector import ITSELF, Behalf, Secret
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.model.back import Back
from gateway.model.call import Call
from gateway.model.tool import Effect
from gateway.pipeline.asking import Asking
from gateway.pipeline.stages.check import breach, is_incomplete
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
    """Sets `call.raw`, `call.attempts` and, for an answer that was there already, `call.source`.

    Retries, breaker and deadline are the executor's, questions `asking`'s. Only what makes no step is answered from the
    `cache`: a step says that the tool was called.
    """

    def __init__(
        self,
        executor: Executor,
        upstreams: Upstreams,
        own: Mapping[str, OwnTool],
        asking: Asking,
        cache: ResultCache,
    ) -> None:
        self._executor = executor
        self._cache = cache
        self._upstreams = upstreams
        self._own = own
        self._asking = asking

    async def __call__(self, call: Call) -> None:
        call.attempts = []
        own = self._own.get(call.tool.name) or self._own.get(call.tool.method)
        if own is not None:
            call.raw = await own(call)
        elif call.tool.effect is not Effect.READ:
            call.raw = await self._written(call)
        elif call.tool.answers.caching is None or call.intent or call.request.more:
            call.raw = await self._sent(call, self._asking.way(call))
        else:
            raw, source = await self._cache.read(call, call.tool.answers.caching, partial(self._fetched, call))
            if source is not None:
                call.source = source
            call.raw = raw

    async def _written(self, call: Call) -> Mapping[str, Any]:
        self._cache.wrote(call.tool)
        try:
            return await self._sent(call, self._asking.way(call))
        finally:
            self._cache.wrote(call.tool)  # what was read meanwhile may be what was there before

    async def _fetched(self, call: Call) -> Fetched:
        back = self._asking.way(call)
        result = await self._sent(call, back)
        shared = not back.was_asked and result.get("resultType", "complete") == "complete"
        return Fetched(result, shared=shared, kept=shared and _is_whole(call, result))

    async def _sent(self, call: Call, back: Back) -> Mapping[str, Any]:
        asked = ToolCall(
            tool=call.tool.upstream_name,
            arguments=call.arguments,
            call_id=call.id,
            timeout_s=call.tool.deadline_s,
            idempotency_key=call.step_key if call.tool.idempotent else None,
            meta={k: v for k, v in call.request.meta.items() if not k.startswith(OWN_META_PREFIX)},
            back=back,
            method=call.tool.method,
            more=call.request.more,
            behalf=_behalf(call),
        )
        raw = await self._executor.execute(
            call.tool, asked, self._upstreams.get(call.tool.server), call.attempts.append
        )
        if raw.get("resultType") == "input_required":
            await self._asking.vet(call, raw.get("inputRequests"))
        return raw


def _is_whole(call: Call, result: Mapping[str, Any]) -> bool:
    """Tell whether a result may be given to others as well: no error, nothing broken, nothing left out."""
    return result.get("isError") is not True and not breach(call, result) and not is_incomplete(call, result)
