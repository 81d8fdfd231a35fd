"""What the gateway needs of whatever performs tool calls."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.connector.credential import ITSELF, Behalf
from gateway.connector.measure import Measure
from gateway.model.back import NOBODY, Back
from gateway.model.light import light
from gateway.model.tool import Effect

__all__ = ["LOOKUP", "Begun", "Definitions", "Notice", "Offer", "ToolCall", "ToolTraits", "ToolsOnly", "Upstream"]

LOOKUP: Final = "toolgate/lookup"
"""The method of a `ToolCall` that only asks what became of an earlier one."""

Definitions = Sequence[Mapping[str, Any]]
Notice = Callable[[str, Mapping[str, Any]], None]
"""Takes the method and the params of a notification that belongs to no call (`…/list_changed`, `…/updated`)."""


@light
@dataclass(frozen=True, slots=True)
class ToolCall:
    """One attempt at a governed request, as a connector sees it; mostly a tool call.

    `tool` is the upstream's own name. `arguments` is the very object that was decided on. `idempotency_key` is the same
    on every attempt, and None for tools that take none. `timeout_s` is what is left of the call's deadline; time that
    the client takes to answer a question does not count. `meta` is the agent's `_meta` without the gateway's own keys
    and without protocol envelope keys. `back` leads to the client.

    `method` is the MCP method. For every other than `tools/call`, `arguments` is the whole of `params` but `_meta`, and
    `tool` is the method again. `more` are params beside name and arguments (`inputResponses`, `requestState`).
    `behalf` is for whom it is made. `measure` takes what is answered.
    """

    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    call_id: str
    timeout_s: float
    idempotency_key: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)
    back: Back = NOBODY
    method: str = "tools/call"
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)
    behalf: Behalf = ITSELF
    measure: Measure = field(default_factory=Measure, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ToolTraits:
    """What a connector declares of a tool beyond its MCP definition; configuration overrides it.

    With `lookup` it answers a call of the tool whose method is `LOOKUP`: with the result that the call with this id and
    key had, or with `NotDone` where it surely had no effect. Any other fault leaves it in doubt.
    """

    effect: Effect
    idempotent: bool = False
    undo: str = ""
    lookup: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server says of itself: `capabilities` and `instructions` in MCP's form, the protocol's `version`."""

    capabilities: Mapping[str, Any] = field(default_factory=lambda: {"tools": {}})
    instructions: str = ""
    version: str = ""


class Begun:
    """A call that is on its way already, as `Upstream.call` may return it; to be awaited like any other.

    Or, without a coroutine for the ordinary case: `answer`, which ends by the call's deadline, is awaited, and what it
    has is given to `result`. Where it raises `ConnectorFault`, and where there is no result, the call itself is awaited
    after all; where whoever waits is cancelled, it is to be called off.
    """

    answer: "asyncio.Future[Any]"
    watched: "Callable[[Awaitable[Mapping[str, Any]]], Awaitable[Mapping[str, Any]]] | None" = None
    """What the awaited call goes through, so that somebody else learns what comes of it."""

    def result(self, answer: Any) -> Mapping[str, Any] | None:
        """Return the result that `answer` had, unless there is more to do than to read it: then None. Ask once."""
        raise NotImplementedError

    def call_off(self) -> None:
        """Wait for it no longer."""
        raise NotImplementedError

    def whole(self) -> Awaitable[Mapping[str, Any]]:
        """Return the result, whatever that takes. Raises as `Upstream.call`."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, Mapping[str, Any]]:
        whole = self.whole()
        return (whole if self.watched is None else self.watched(whole)).__await__()


class Upstream(Protocol):
    """A live connector: one MCP server, one API, or one plugin.

    `open` may be called again after `close`; `close` works after a failed `open` and never raises. `call` isolates: a
    failure or a cancellation of one call never touches another.
    """

    async def open(self) -> None:
        """Connect. Raises `ConnectorFault`."""
        ...

    async def close(self) -> None:
        """Disconnect and leave no process, descriptor or task behind."""
        ...

    def offer(self) -> Offer:
        """Return what the server said of itself when it was last connected to; the neutral offer before that."""
        ...

    async def tools(self) -> Definitions:
        """Return the raw MCP tool definitions, every page, unchanged. Raises `ConnectorFault`."""
        ...

    async def listed(self, method: str) -> Definitions:
        """Return what `prompts/list`, `resources/list` or `resources/templates/list` answers: every page, unchanged.

        Empty where the server has none of it. Raises `ConnectorFault`.
        """
        ...

    def traits(self, tool: str) -> ToolTraits | None:
        """Return what the connector itself declares of a tool, or None where it only relays a server's hints."""
        ...

    def concerning(self, behalf: Behalf) -> Behalf:
        """Return what of `behalf` makes a difference to what the other side is shown: `ITSELF` where nothing does.

        Raises `ConnectorFault` for a caller for whom there is nothing to show; `sent` is False.
        """
        ...

    def call(self, call: ToolCall) -> Awaitable[Mapping[str, Any]]:
        """Perform the call once and return the raw MCP result object, unknown fields and all.

        What is returned is awaited at once. It may be `Begun`.

        Raises:
            ConnectorFault: with `sent=False` only if nothing left the gateway; with `rpc` where the server answered
                with a JSON-RPC error.
        """
        ...

    def on_notice(self, listener: Notice) -> None:
        """Have `listener` told of every notification of the server that belongs to no call."""
        ...

    async def watch(self, uris: frozenset[str]) -> None:
        """Have notices come for updates of exactly these resources from now on, also over later connections.

        Raises `ConnectorFault` where the server refuses or cannot.
        """
        ...


class ToolsOnly:
    """The part of an `Upstream` that one with nothing but tools need not write."""

    def offer(self) -> Offer:
        return Offer()

    async def listed(self, method: str) -> Definitions:
        del method
        return ()

    def concerning(self, behalf: Behalf) -> Behalf:
        del behalf
        return ITSELF

    def on_notice(self, listener: Notice) -> None:
        """Nothing changes by itself."""

    async def watch(self, uris: frozenset[str]) -> None:
        """There is nothing to watch."""
