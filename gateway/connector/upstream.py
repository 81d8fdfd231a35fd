"""What the gateway needs of whatever performs tool calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.model.light import light
from gateway.model.tool import Effect

__all__ = ["ToolCall", "ToolTraits", "Upstream"]


@light
@dataclass(frozen=True, slots=True)
class ToolCall:
    """One attempt at a tool call, as a connector sees it.

    `tool` is the upstream's own name. `arguments` is the very object that was decided on. `idempotency_key` is the same
    on every attempt, and None for tools that take none. `timeout_s` is what is left of the call's deadline.
    `meta` is the agent's `_meta` without the gateway's own keys and without protocol envelope keys.
    """

    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    call_id: str
    timeout_s: float
    idempotency_key: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ToolTraits:
    """What a connector declares of a tool beyond its MCP definition; configuration overrides it."""

    effect: Effect
    idempotent: bool = False
    undo: str = ""


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

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the raw MCP tool definitions, every page, unchanged. Raises `ConnectorFault`."""
        ...

    def traits(self, tool: str) -> ToolTraits | None:
        """Return what the connector itself declares of a tool, or None where it only relays a server's hints."""
        ...

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        """Perform the call once and return the raw MCP result object, unknown fields and all.

        Raises:
            ConnectorFault: with `sent=False` only if nothing left the gateway.
        """
        ...

    def on_tools_changed(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever the upstream says that its tools changed."""
        ...
