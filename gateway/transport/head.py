"""What the head of a request says, read once: clients send the same head with many a request."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.model.identity import Credential
from gateway.model.operation import TOOL_CALL
from gateway.model.request import Caller
from gateway.transport.envelope import HANDSHAKE_VERSIONS, MODERN_VERSIONS
from gateway.transport.said import NOTHING, Said

__all__ = ["KNOWN", "Head"]

KNOWN: Final = "toolgate.head"
"""Where the scope of a request has the head that its connection knows; then its `receive` is a `Cycle`'s."""

_NOBODY: Final = Credential("none", "")
_OWN: Final = frozenset({"toolgate-run", "toolgate-attempt", "idempotency-key"})


class Head:
    """Headers by lower-case name; where one is repeated the last stands (see `guard`).

    White space around a value is no part of it (RFC 9110 §5.5); the parser leaves some. `lines` are the headers as they
    came. `modern` says that the era is one without sessions, `over_stdio` that the stdio bridge sends it, and
    `takes_streams` that the client reads an event stream where an answer is due. `cleared` is set once a guard has let
    it pass as the head of a POST. `plain` says that nothing in it is the gateway's own. `said` is what came with it
    last, and `caller` who was found to be behind both; `agreed` are these two where a call was found to say the same in
    its head and body. `calls` is the tool that a modern one says is called, in the plainest way there is; None where it
    says anything else.
    """

    __slots__ = (
        *("agreed", "caller", "calls", "cleared", "credential", "headers", "lines", "modern"),
        *("over_stdio", "plain", "said", "takes_streams"),
    )

    def __init__(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        self.lines = lines
        self.headers = headers = {
            name.decode("latin-1"): value.strip(b" \t").decode("latin-1") for name, value in lines
        }
        version = headers.get("mcp-protocol-version")
        self.modern = version is not None and version not in HANDSHAKE_VERSIONS
        self.over_stdio = headers.get("toolgate-transport") == "stdio"
        self.takes_streams = "text/event-stream" in headers.get("accept", "").lower()
        self.credential = _credential(headers)
        self.calls = _called(headers) if version in MODERN_VERSIONS else None
        self.cleared = False
        self.plain = _OWN.isdisjoint(headers)
        self.said: Said = NOTHING
        self.caller: Caller | None = None
        self.agreed: tuple[Said, Caller] | None = None

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Head":
        """Return the head of a request: the one its connection knows, else a new one."""
        known: Head | None = scope.get(KNOWN)
        return cls(scope["headers"]) if known is None else known


def _called(headers: Mapping[str, str]) -> str | None:
    name = headers.get("mcp-name")
    if headers.get("mcp-method") != TOOL_CALL or name is None or name.startswith("=?"):
        return None  # "=?" is how a value begins that is spelled in another way
    return name


def _credential(headers: Mapping[str, str]) -> Credential:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    return Credential("bearer", value) if scheme.lower() == "bearer" and value else _NOBODY
