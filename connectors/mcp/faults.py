"""A server's errors as the gateway's faults: named, in the server's own words, without secrets."""

from collections.abc import Callable, Mapping
from typing import Any

from connectors.mcp.wire import RpcError, StatusError
from gateway.connector import Confined, ConnectorFault, Rejected, plain

__all__ = ["Faults", "confined", "unsent"]


class Faults:
    """Says what went wrong with one server. `redact` takes secrets out of everything that the server wrote."""

    def __init__(self, server: str, redact: Callable[[str], str]) -> None:
        self._server = server
        self._redact = redact

    def refusal(self, error: RpcError) -> ConnectorFault:
        """Return the fault that a JSON-RPC error answer is; `rpc` is that answer, redacted."""
        said = plain(self._redact(error.message)) or "no reason given"
        return Rejected(
            f"The server refused: {said} (code {error.code}).",
            detail=f"JSON-RPC error {error.code}: {said}",
            rpc=None if isinstance(error, StatusError) else self._answer(error),
        )

    def named(self, fault: ConnectorFault) -> ConnectorFault:
        """Return the fault with the server's name in front, and nothing secret behind."""
        text = f"{self._server}: {fault.message}" if self._server else fault.message
        return fault.reworded(text, self._redact(fault.detail))

    def _answer(self, error: RpcError) -> Mapping[str, Any]:
        answer = {"code": error.code, "message": self._redact(error.message)}
        return answer if error.data is None else {**answer, "data": self._clean(error.data)}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {self._redact(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return value


def unsent(fault: ConnectorFault) -> ConnectorFault:
    """Return the fault for a request that never left, because what comes before it failed."""
    copy = fault.reworded(fault.message, fault.detail)
    copy.sent = False
    return copy


def confined(fault: ConnectorFault) -> ConnectorFault:
    """Return the fault as that of one client's connection, if it is one before anything was sent."""
    if fault.sent or fault.code not in {"unavailable", "timeout"}:
        return fault
    return Confined(
        fault.message, code=fault.code, detail=fault.detail, retry_after_s=fault.retry_after_s, sent=fault.sent
    )
