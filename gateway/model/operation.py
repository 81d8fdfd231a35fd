"""What of a server is governed besides its tools, as values that are called, decided and recorded like tools."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from gateway.model.tool import Effect, Tool

__all__ = [
    "ACTION_OF",
    "ASKS",
    "COMPLETE",
    "CREATE_MESSAGE",
    "ELICIT",
    "GET_PROMPT",
    "LIST_ROOTS",
    "READ_RESOURCE",
    "ROOTS_CHANGED",
    "SUBSCRIBE",
    "TOOL_CALL",
    "operation",
    "operation_named",
]

TOOL_CALL: Final = "tools/call"
READ_RESOURCE: Final = "resources/read"
SUBSCRIBE: Final = "resources/subscribe"
GET_PROMPT: Final = "prompts/get"
COMPLETE: Final = "completion/complete"
CREATE_MESSAGE: Final = "sampling/createMessage"
ELICIT: Final = "elicitation/create"
LIST_ROOTS: Final = "roots/list"
ROOTS_CHANGED: Final = "notifications/roots/list_changed"

ACTION_OF: Final[Mapping[str, str]] = {
    READ_RESOURCE: "read_resource",
    SUBSCRIBE: "read_resource",
    GET_PROMPT: "get_prompt",
    COMPLETE: "complete",
    CREATE_MESSAGE: "sample",
    ELICIT: "elicit",
    LIST_ROOTS: "list_roots",
}
"""The Cedar action of each governed method that is no tool call."""

ASKS: Final = frozenset({CREATE_MESSAGE, ELICIT, LIST_ROOTS})
"""What a server asks of the client: permitted only where a policy names it."""

_ASK_DEADLINE_S: Final = 900.0


def operation(server: str, method: str, deadline_s: float = 60.0) -> Tool:
    """Return a governed method of a server as a tool called `server.method`; its arguments are the method's params.

    What a server asks of the client may take a person's time: 900 s. No policy can allow a method that is not in
    `ACTION_OF`.
    """
    if method in ACTION_OF:
        return _known(server, method, _ASK_DEADLINE_S if method in ASKS else deadline_s)
    return _made(server, method, deadline_s)  # not kept: it may be a text of any length, and a server's own


def operation_named(name: str) -> Tool | None:
    """Return the operation with the canonical name `server.method`, or None where `name` is no operation's."""
    server, _, method = name.partition(".")  # a server's name has no dot
    return operation(server, method) if server and method in ACTION_OF else None


def _made(server: str, method: str, deadline_s: float) -> Tool:
    name = f"{server}.{method}"
    return Tool(
        name=name,
        wire_name=name,
        server=server,
        upstream_name=method,
        version=1,
        digest=f"sha256:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}",
        effect=Effect.READ,
        definition={"name": method},
        input_schema={"type": "object"},
        deadline_s=deadline_s,
        method=method,
    )


_known = lru_cache(maxsize=4096)(_made)
