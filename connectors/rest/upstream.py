"""An HTTP API as a live connector."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from connectors.egress import Resolve, system_addresses
from connectors.rest.config import ApiConfig
from connectors.rest.exchange import Exchange
from connectors.rest.operation import Operation
from connectors.rest.placing import Placing
from connectors.rest.reading import Reading, without
from connectors.rest.showing import Showing
from gateway.connector import (
    Behalf,
    Certificates,
    ConnectorFault,
    Failures,
    Rejected,
    Surroundings,
    ToolCall,
    ToolsOnly,
    ToolTraits,
    Unavailable,
    plain,
)

__all__ = ["ApiUpstream", "Load"]

Load = Callable[[Showing], Awaitable[Sequence[Operation]]]
"""Returns the operations of an API. Raises `ConnectorFault`."""


class ApiUpstream(ToolsOnly):
    """The tools of one HTTP API; `load` says which, once."""

    def __init__(self, config: ApiConfig, lent: Surroundings, load: Load, resolve: Resolve = system_addresses) -> None:
        credentials = config.credentials()
        self._server = lent.server
        self._redact = without(credentials.secrets, lent.redact)
        certificates = Certificates(config.auth, lent.folder, config.egress.ca_file)
        self._exchange = Exchange(config.rules(), config.egress, config.answers.max_bytes, resolve, certificates)
        sought = config.sought(lent.server)
        self._showing = Showing(self._exchange, lent.credential(sought) if sought else None)
        self._placing = Placing(config.target, credentials, config.idempotency_header)
        self._reading = Reading(Failures(config.answers.failures), config.answers.next, self._redact)
        self._load = load
        self._operations: Mapping[str, Operation] | None = None
        self._opened = False

    async def open(self) -> None:
        """Learn which tools there are. Raises `ConnectorFault`."""
        try:
            if self._operations is None:
                found = await self._load(self._showing)
                self._operations = {operation.name: operation for operation in found}
        except ConnectorFault as fault:
            raise self._named(fault) from fault
        self._opened = True

    async def close(self) -> None:
        """Leave no connection behind."""
        self._opened = False
        await self._exchange.close()

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return a definition of every operation that was named."""
        return [operation.definition for operation in (self._operations or {}).values()]

    def traits(self, tool: str) -> ToolTraits | None:
        """Return what the method and the configuration make of a tool."""
        operation = (self._operations or {}).get(tool)
        return operation.traits if operation else None

    def concerning(self, behalf: Behalf) -> Behalf:
        """Return whose credential a request shows. Raises `ConnectorFault`."""
        return self._showing.concerning(behalf)

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        """Send one request and return what came of it. Raises `ConnectorFault`."""
        if not self._opened:
            raise Unavailable(f"{self._server} is not open.", sent=False)
        operation = (self._operations or {}).get(call.tool)
        if operation is None or call.method != "tools/call":
            raise Rejected(f"{self._server} has no tool {plain(call.tool, 80)!r}.")
        try:
            request = self._placing.request(operation, call)
            answer = await self._showing.send(request, call.behalf, call.timeout_s, call.measure)
            return self._reading.result(operation, request, answer)
        except ConnectorFault as fault:
            raise self._named(fault) from fault

    def _named(self, fault: ConnectorFault) -> ConnectorFault:
        """Return the fault with the server's name in front, and nothing secret in it."""
        return fault.reworded(f"{self._server}: {self._redact(fault.message)}", self._redact(fault.detail))
