"""The step key: what makes two calls the same effect (LEDGER.md §3)."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import digest
from gateway.model.call import Call
from gateway.model.facts import RunRef, StepStatus
from gateway.model.light import light
from gateway.model.request import CallRequest
from gateway.model.tool import Effect, Tool
from gateway.store.ports import Ledger, Recorded

__all__ = ["NO_STEP", "StepKey", "is_plain_read", "new_step", "next_step", "sent_key", "step_key"]

_LONGEST: Final = 200
_READ: Final = Effect.READ
IsNew = Callable[[str, Hashable], bool]
"""Tells of a run and a step in it that it cannot be on record; False where nobody knows."""


def _never(run_id: str, step: Hashable) -> bool:
    del run_id, step
    return False


@light
@dataclass(frozen=True, slots=True)
class StepKey:
    """The key to claim (None: nothing to keep apart), and the recorded call that this one repeats, if any."""

    key: str | None
    repeats: Recorded | None = field(default=None, repr=False)


NO_STEP: Final = StepKey(None)


def step_key(
    tool: Tool, run_id: str, arguments: Mapping[str, Any], arguments_digest: str, explicit: str | None
) -> str | None:
    """Return the key of a call's step; the first one, where identical calls are numbered.

    What the operator configured wins: an agent's own key cannot make one effect two. Then the agent's key; then, for
    effects, the run and the arguments. A read without a key has none. The prefix keeps the three from meeting.
    """
    if tool.idempotency_key:
        named = {path: _at(arguments, path) for path in tool.idempotency_key}
        return f"args:{digest(named)}"
    if explicit is not None:
        return f"key:{explicit}" if len(explicit) <= _LONGEST else f"key:{digest(explicit)}"
    if tool.effect is _READ:
        return None
    return _numbered(run_id, arguments_digest, 0)


def sent_key(tool: Tool, agent: str, key: str | None) -> str | None:
    """Return the idempotency key that goes to the server, for a tool that takes one.

    A step key is unique for one agent and one tool; a server may see the keys of all. What the operator configured
    names one effect whichever agent asks for it.
    """
    if key is None or not tool.idempotent:
        return None
    return digest([tool.name, key] if tool.idempotency_key else [agent, tool.name, key])


async def next_step(ledger: Ledger, run: RunRef, call: Call, is_new: IsNew = _never) -> StepKey:
    """Return the key this call has to claim, and the recorded call it repeats; a step that `is_new` repeats none.

    A configured or explicit key always stands for the same step. Without one, a call that succeeded and whose answer
    was delivered in this attempt at the run is over, and the next identical call is a new one; one still running,
    undelivered or in doubt is answered from the record; one that failed is tried again under the same key.
    """
    agent, tool, request = call.identity.agent, call.tool, call.request
    if is_plain_read(tool, request):
        return NO_STEP
    if call.request.repeats is not None:
        key = call.request.repeats.step_key
        return StepKey(key, await ledger.recorded(agent, tool.name, key))
    if call.drafts and request.draft is None:  # to make a draft is no step
        return NO_STEP
    explicit = f"draft {request.draft}" if request.draft is not None else request.idempotency_key
    if call.request.undoes is not None:
        explicit = f"undoes {call.request.undoes.call_id}"
    elif explicit is not None and call.identity.on_behalf_of is not None:  # one user never gets another's answer
        explicit = digest([call.identity.on_behalf_of, explicit])
    first = step_key(tool, run.id, call.arguments, call.arguments_digest, explicit)
    if first is None:
        return StepKey(None)
    of_run = not tool.idempotency_key and explicit is None
    if of_run and is_new(run.id, (agent, tool.name, first)):
        return StepKey(first)
    held = await ledger.recorded(agent, tool.name, first)
    if not of_run or tool.once_per_run or not _is_over(held, run):
        return StepKey(first, held)
    return await _first_unfinished(ledger, run, call)


def new_step(run: RunRef, call: Call, is_new: IsNew) -> StepKey | None:
    """Return the key of a call that names no step of its own and `is_new`; None: `next_step` has to say."""
    tool, request = call.tool, call.request
    named = request.idempotency_key is not None or request.repeats is not None or request.draft is not None
    if named or request.undoes is not None or tool.idempotency_key or call.drafts:
        return None
    first = step_key(tool, run.id, call.arguments, call.arguments_digest, None)
    return StepKey(first) if first is None or is_new(run.id, (call.identity.agent, tool.name, first)) else None


def is_plain_read(tool: Tool, request: CallRequest) -> bool:
    """Tell whether a call has nothing to keep apart: what it asks for it may ask for again, and no key is told."""
    if tool.effect is not _READ or tool.idempotency_key:
        return False
    return request.idempotency_key is None and request.repeats is None and request.undoes is None


async def _first_unfinished(ledger: Ledger, run: RunRef, call: Call) -> StepKey:
    """Find the first number whose call is not over: double until one is found, then halve, however many there were."""

    def key(number: int) -> str:
        return _numbered(run.id, call.arguments_digest, number)

    async def recorded(number: int) -> Recorded | None:
        return await ledger.recorded(call.identity.agent, call.tool.name, key(number))

    over, candidate = 0, 1
    while _is_over(held := await recorded(candidate), run):
        over, candidate = candidate, candidate * 2
    while candidate - over > 1:
        middle = (over + candidate) // 2
        between = await recorded(middle)
        if _is_over(between, run):
            over = middle
        else:
            candidate, held = middle, between
    return StepKey(key(candidate), held)


def _is_over(recorded: Recorded | None, run: RunRef) -> bool:
    if recorded is None or recorded.status is StepStatus.COMPENSATED:
        return recorded is not None
    return recorded.status is StepStatus.SUCCEEDED and recorded.delivered >= run.attempt


def _numbered(run_id: str, arguments_digest: str, number: int) -> str:
    return f"call:{run_id}:{arguments_digest}:{number}"


def _at(arguments: Any, path: str) -> Any:
    node = arguments
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node
